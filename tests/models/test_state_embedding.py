"""A cell's vector depends on its genes, not on their order; hidden genes are truly hidden."""

import json
from dataclasses import replace
from functools import partialmethod

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from perturbkit.core.errors import SchemaError, UnknownNameError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.nn.gene_tokens import GeneTokens
from perturbkit.models.nn.transformer import SetTransformer
from perturbkit.models.state_embedding import (
    LOSSES,
    SentenceBatch,
    StateEmbedding,
    StateEmbeddingConfig,
    published_sizes,
)

N = 60
GENES = Vocabulary([f"G{i:02d}" for i in range(N)], "gene")
SMALL = StateEmbeddingConfig(
    d_model=16, nhead=2, d_hid=32, nlayers=2, output_dim=8, sentence_length=20, n_asked=12,
    decoder_hidden=16, graph_dim=8,
)  # fmt: skip
MEANS = np.full(N, 0.5, np.float32), np.full(N, 0.4, np.float32)


def ring() -> Graph:
    edges = pl.DataFrame({"source": list(GENES), "target": [*list(GENES)[1:], GENES[0]]})
    return Graph.of(edges, directed=False, nodes=GENES)


def features(names: Vocabulary = GENES) -> Features:
    return Features(names, np.random.default_rng(1).normal(size=(len(names), 24)), "proteins")


def built(config: StateEmbeddingConfig = SMALL, **knowledge) -> StateEmbedding:
    return StateEmbedding.build(
        config, GENES, MEANS, np.random.default_rng(0), datasets=("a", "b"), **knowledge
    ).eval()


def batch(rng: np.random.Generator, n: int = 6) -> SentenceBatch:
    genes = np.stack([rng.permutation(np.arange(12, N))[:20] for _ in range(n)])
    values = rng.gamma(1.0, 1.0, (n, 20)).astype(np.float32)
    truth = (rng.poisson(0.8, (n, 12)) * rng.random((n, 12))).astype(np.float32)
    tensors = [torch.arange(N), *map(torch.from_numpy, (genes, values, np.arange(12), truth)),
               torch.from_numpy(rng.integers(0, 2, n))]  # fmt: skip
    return SentenceBatch(*tensors)


@pytest.mark.parametrize("knowledge", [
    {}, {"features": features()}, {"graphs": {"ring": ring()}},
    {"features": features(), "graphs": {"ring": ring()}},
])  # fmt: skip
def test_the_cell_vector_depends_on_its_genes_and_not_on_their_order(knowledge, rng) -> None:
    model, cells = built(**knowledge), batch(rng)
    table = model.tokens()
    z = model.encode(table, cells.genes, cells.values)[0]
    order = torch.randperm(20)
    permuted = model.encode(table, cells.genes[:, order], cells.values[:, order])[0]
    torch.testing.assert_close(permuted, z, rtol=1e-4, atol=1e-5)
    others = torch.from_numpy(np.stack([rng.permutation(N)[:20] for _ in range(6)]))
    replaced = model.encode(table, others, cells.values)[0]
    assert (replaced - z).norm(dim=1).min() > 0.01
    torch.testing.assert_close(z.norm(dim=1), torch.ones(6))


def test_amounts_matter(rng) -> None:
    model, cells = built(), batch(rng)
    table = model.tokens()
    z = model.encode(table, cells.genes, cells.values)[0]
    assert (model.encode(table, cells.genes, cells.values.flip(1))[0] - z).norm(dim=1).min() > 1e-3


def test_hidden_genes_cannot_leak_into_the_prediction(rng) -> None:
    model, cells = built().train(), batch(rng)
    with torch.no_grad():
        model.decoder.out.weight.normal_()
        other = replace(cells, truth=torch.full_like(cells.truth, 7.0))
        torch.testing.assert_close(model.predict_asked(cells)[0], model.predict_asked(other)[0])


def test_untrained_it_predicts_the_mean_of_each_gene(rng) -> None:
    predicted, _ = built().predict_asked(batch(rng))
    torch.testing.assert_close(predicted, torch.full_like(predicted, 0.5))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_falls(loss, rng) -> None:
    model, cells = built(SMALL.replace(loss=loss)).train(), batch(rng)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        value = model.loss(cells)
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    assert losses[-1] < losses[0] - 1e-3


@pytest.mark.parametrize("knowledge", [{"graphs": {"ring": ring()}}, {"features": features()}])
def test_knowledge_takes_part_in_the_gradient(knowledge, rng) -> None:
    model = built(SMALL.replace(dataset_correction=True), **knowledge).train()
    with torch.no_grad():
        model.decoder.out.weight.normal_()
    model.loss(batch(rng)).backward()
    part = model.tokens.graph.own[0] if "graphs" in knowledge else model.tokens.project
    assert float(part.weight.grad.abs().sum()) > 0
    assert float(model.which_dataset.weight.grad.abs().sum()) > 0


def test_graph_consistency_draws_linked_genes_together() -> None:
    model = built(graphs={"ring": ring()}).train()
    optimizer = torch.optim.Adam(model.tokens.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model._consistency().backward()
        optimizer.step()
    z = torch.nn.functional.normalize(model.tokens(), dim=1)
    linked = (z * z.roll(-1, 0)).sum(1).mean()
    far = (z * z.roll(-30, 0)).sum(1).mean()
    assert float((linked - far).detach()) > 0.3
    assert not built(SMALL.replace(use_graph_embeddings=False), graphs={"r": ring()}).pairs.numel()


def test_genes_without_features_are_named(rng) -> None:
    some = features(Vocabulary([f"G{i:02d}" for i in range(57)], "gene"))
    with pytest.raises(SchemaError, match=r"3 of 60 genes have no vector in proteins: G57"):
        built(features=some)
    learned = built(SMALL.replace(missing="learn"), features=some)
    assert learned.tokens.is_learned.sum() == 3
    assert torch.isfinite(learned.loss(batch(rng)))


def test_genes_never_in_the_screen_have_tokens_if_features_know_them() -> None:
    more = features(Vocabulary([*GENES, "NEW"], "gene"))
    model = built(features=more)
    assert model.get_gene_embedding(["NEW", "G00"]).values.shape == (2, 16)
    with pytest.raises(UnknownNameError, match="NOSUCH"):
        model.get_gene_embedding(["NOSUCH"])


def test_a_cell_is_embedded_alike_alone_and_among_others(rng) -> None:
    model = built()
    x = rng.poisson(0.5, (9, N)).astype(np.float32)
    known, columns = model.columns(GENES)
    assert len(known) == N
    together = model.embed(x, columns, at_once=4)
    np.testing.assert_allclose(model.embed(x[5:6], columns)[0], together[5], atol=1e-5)
    order = rng.permutation(N)
    shuffled = model.embed(np.ascontiguousarray(x[:, order]), columns[order])
    np.testing.assert_allclose(shuffled, together, atol=1e-5)


def test_state_restores_the_model_to_the_bit(rng) -> None:
    model = built(graphs={"ring": ring()}, features=features())
    arrays, about = model.state()
    again = StateEmbedding.restore(SMALL, (arrays, json.loads(json.dumps(about))))
    x = rng.poisson(0.5, (4, N)).astype(np.float32)
    columns = model.columns(GENES)[1]
    np.testing.assert_array_equal(model.embed(x, columns), again.embed(x, columns))


def test_checkpointing_changes_no_gradient(rng) -> None:
    cells, gradients = batch(rng), []
    for checkpointing in (False, True):
        model = built(SMALL.replace(gradient_checkpointing=checkpointing)).train()
        with torch.no_grad():
            model.decoder.out.weight.fill_(0.1)
        model.loss(cells).backward()
        gradients.append(model.bins.bins.grad)
    torch.testing.assert_close(*gradients)


def test_published_sizes_are_those_of_the_published_model() -> None:
    sizes = published_sizes()
    assert (sizes.d_model, sizes.nhead, sizes.d_hid, sizes.nlayers) == (512, 8, 2048, 6)
    tokens = GeneTokens(GENES, 512, np.random.default_rng(0), features=Features(
        GENES, np.random.default_rng(0).normal(size=(N, 5120))))  # fmt: skip
    assert tokens.project.in_features == 5120


@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own code
def test_compiled_it_has_the_same_loss_and_gradients(monkeypatch, rng) -> None:
    # traced and differentiated as ever; generating C++ from that would take a minute
    compile_ = partialmethod(nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(SetTransformer, "compile", compile_)
    cells, losses, gradients = batch(rng), [], []
    for compiled in (False, True):
        model = built(SMALL.replace(compiled=compiled, nlayers=1)).train()
        loss = model.loss(cells)
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append({k: p.grad for k, p in model.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5)
