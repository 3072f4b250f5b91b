"""STATE's embedding model: a transformer over the genes of a cell, trained on hidden genes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import ModelCard, State
from perturbkit.models.nn.distribution import (
    detection_loss,
    energy_distance,
    mmd,
    profile_kl,
    tabular_energy,
    wasserstein_genes,
)
from perturbkit.models.nn.gene_tokens import GeneTokens, Missing
from perturbkit.models.nn.graph import (
    edge_codes,
    graph_consistency_loss,
    linear,
    shuffled_partners,
)
from perturbkit.models.nn.grid import GridDecoder
from perturbkit.models.nn.sentence import SoftBins, sentences
from perturbkit.models.nn.transformer import SetTransformer

_EDGES_A_STEP = 4096
"""pairs of genes that the graph consistency looks at in one step"""
DATASET_DIM = 10


class StateEmbeddingConfig(Config):
    """Sizes carry the names of the published model; `published_sizes` has its numbers."""

    d_model: int = Field(default=128, ge=8)
    """width of tokens"""
    nhead: int = Field(default=4, ge=1)
    """attention heads"""
    d_hid: int = Field(default=256, ge=8)
    """width of the feed-forward layers"""
    nlayers: int = Field(default=3, ge=1)
    """transformer layers"""
    output_dim: int = Field(default=64, ge=2)
    """length of a cell's vector"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """share of hidden values set to zero while training"""
    sentence_length: int = Field(default=512, ge=2)
    """genes in a cell's sentence; published 2,047"""
    n_asked: int = Field(default=128, ge=1)
    """genes hidden from each batch and asked for, half the screen's at most"""
    loss: Literal["mse", "bce", "tabular", "energy", "wasserstein", "mmd", "kl"] = "mse"
    """what compares predicted and measured values of the hidden genes"""
    decoder_hidden: int = Field(default=128, ge=1)
    """width of the decoder's hidden layers"""
    decoder_layers: int = Field(default=2, ge=1)
    """hidden layers of the decoder"""
    use_graph_embeddings: bool = True
    """whether networks given are used at all"""
    graph_dim: int = Field(default=64, ge=2)
    """length of the part of a token that the networks make"""
    graph_consistency: float = Field(default=0.1, ge=0)
    """weight of the loss that draws tokens of linked genes together"""
    dataset_correction: bool = False
    """whether a token, told apart by data set, takes up what the data sets differ in"""
    missing: Missing = "refuse"
    """what to do with genes that have no features"""
    gradient_checkpointing: bool = False
    """whether layers are recomputed in the backward pass, which saves memory"""
    compiled: bool = False
    """whether the transformer is compiled (needs a C++ compiler on CPUs)"""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.nhead:
            message = f"d_model ({self.d_model}) is not a multiple of nhead ({self.nhead})"
            raise ValueError(message)
        return self


def published_sizes(**changes: Any) -> StateEmbeddingConfig:
    """Return the sizes of the published `StateEmbeddingModel`: d_model 512, 8 heads, 6 layers."""
    sizes = {"d_model": 512, "nhead": 8, "d_hid": 2048, "nlayers": 6, "output_dim": 128,
             "sentence_length": 2047, "n_asked": 512}  # fmt: skip
    return StateEmbeddingConfig.parse(sizes | changes)


@dataclass(frozen=True, eq=False)
class SentenceBatch:
    """Cells as sentences, with the values of genes that no sentence holds."""

    columns: Tensor
    """int64 [g], positions of the screen's readouts in the model's genes"""
    genes: Tensor
    """int64 [n, l], positions in `columns`"""
    values: Tensor
    """float32 [n, l], log-normalised"""
    asked: Tensor
    """int64 [q], positions in `columns` of the hidden genes"""
    truth: Tensor
    """float32 [n, q], their values"""
    dataset: Tensor
    """int64 [n], the data set (batch) of each cell"""


class StateEmbedding(nn.Module):
    """CLS and gene tokens (knowledge + soft-binned amount) through a transformer without order.

    The cell's vector is the CLS output, projected and L2-normalised. The decoder scores it
    against gene tokens on the grid, so each gene and each cell is projected once. Genes asked for
    are absent from the sentence.

    Source:
        STATE (Adduri et al. 2025), embedding model, from its description; the published code
        leaves the genes it asks for in the input, adds the depth of the answers, and decodes
        gathered pairs.
    """

    offset: Tensor
    pairs: Tensor
    others: Tensor

    def __init__(self, config: StateEmbeddingConfig, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.datasets = tuple(about["datasets"])
        rng = np.random.default_rng(about.get("seed", 0))
        generator, width = torch_generator(rng), config.d_model
        self.tokens = GeneTokens.restore(about["tokens"])
        self.register_buffer("offset", torch.zeros(len(self.tokens.names)))
        self.register_buffer("pairs", torch.zeros(about.get("n_pairs", 0), 2, dtype=torch.int64))
        self.register_buffer("others", torch.zeros(about.get("n_others", 0), 2, dtype=torch.int64))
        self.cls = nn.Parameter(torch.randn(width, generator=generator) * 0.5)
        self.dataset_token = nn.Parameter(torch.randn(width, generator=generator) * 0.5)
        self.bins = SoftBins(width, rng)
        self.transformer: nn.Module = SetTransformer(
            width, config.nhead, config.d_hid, config.nlayers, rng, dropout=config.dropout,
            checkpointing=config.gradient_checkpointing,
        )  # fmt: skip
        if config.compiled:
            self.transformer.compile(dynamic=True)
        self.project = linear(width, config.output_dim, generator)
        self.to_dataset = linear(width, DATASET_DIM, generator)
        self.which_dataset = linear(DATASET_DIM, len(self.datasets), generator)
        extra = DATASET_DIM if config.dataset_correction else 0
        self.decoder = GridDecoder(
            config.output_dim + 1 + extra, width, config.decoder_hidden, config.decoder_layers
        )
        self.decoder.initialize(generator)
        if self.decoder.out is not None:
            nn.init.zeros_(self.decoder.out.weight)  # training starts from each gene's mean

    @classmethod
    def build(
        cls,
        config: StateEmbeddingConfig,
        genes: Vocabulary,
        means: tuple[np.ndarray, np.ndarray],
        rng: np.random.Generator,
        *,
        features: Features | None = None,
        graphs: Mapping[str, Graph] | None = None,
        datasets: Sequence[str] = ("0",),
    ) -> Self:
        """Make an untrained model.

        Args:
            config: the settings.
            genes: readouts of the training screen.
            means: mean log value and share of expressing cells of each, float [2 x g].
            rng: initialises the weights.
            features: vectors of genes (a protein language model's).
            graphs: networks of genes.
            datasets: names of the data sets, for the dataset token.

        Raises:
            SchemaError: genes have no features, and `missing` is `refuse`.
        """
        nets = dict(graphs or {}) if config.use_graph_embeddings else {}
        tokens = GeneTokens(
            genes, config.d_model, rng, features=features, graphs=nets or None,
            graph_width=config.graph_dim, missing=config.missing,
        )  # fmt: skip
        pairs, others = _linked(nets, tokens.names, rng)
        about = {"datasets": list(datasets), "tokens": tokens.plain(), "n_pairs": len(pairs),
                 "n_others": len(others), "seed": int(rng.integers(2**31))}  # fmt: skip
        model = cls(config, about)
        model.tokens = tokens
        model.pairs.copy_(torch.from_numpy(pairs))
        model.others.copy_(torch.from_numpy(others))
        mean, rate = means
        start = np.log(np.clip(rate, 1e-3, 1 - 1e-3) / np.clip(1 - rate, 1e-3, 1)) \
            if config.loss == "bce" else mean  # fmt: skip
        # genes that only features know begin at the mean gene
        model.offset.fill_(float(np.mean(start)))
        model.offset[: len(genes)] = torch.from_numpy(np.asarray(start, np.float32))
        return model

    def encode(
        self, table_gd: Tensor, genes: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the cells' vectors [n, output_dim] and, if corrected for, their data set's."""
        tokens = functional.embedding(genes, table_gd) + self.bins(values)
        special: list[Tensor] = [self.cls]
        special += [self.dataset_token] if self.config.dataset_correction else []
        first = torch.stack(special).expand(len(genes), -1, -1).to(tokens.dtype)
        out = self.transformer(torch.cat([first, tokens], 1), None, len(special))
        z = functional.normalize(self.project(out[:, 0]).float(), dim=-1)
        return z, self.to_dataset(out[:, 1]) if self.config.dataset_correction else None

    def decode(
        self, z_nd: Tensor, depth_n: Tensor, dataset: Tensor | None, asked: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return predicted values, or logits under `bce`, of genes [n, q].

        Args:
            z_nd: the cells' vectors.
            depth_n: mean value of the expressed genes of each sentence (read depth).
            dataset: the data sets' vectors.
            asked: positions in the model's genes, and their tokens [q, d].
        """
        positions, tokens = asked
        parts = [z_nd * z_nd.shape[1] ** 0.5, depth_n[:, None]]
        parts += [] if dataset is None else [dataset.float()]
        return self.decoder(torch.cat(parts, -1), tokens).float() + self.offset[positions]

    def predict_asked(self, batch: SentenceBatch) -> tuple[Tensor, Tensor | None]:
        """Return predictions for the hidden genes, and the data sets' vectors."""
        table = self.tokens(batch.columns)
        z, dataset = self.encode(table, batch.genes, batch.values)
        asked = (batch.columns[batch.asked], table[batch.asked])
        return self.decode(z, depth(batch.values), dataset, asked), dataset

    def loss(self, batch: SentenceBatch) -> Tensor:
        """Return the loss on the hidden genes, plus those of data sets and networks."""
        predicted, dataset = self.predict_asked(batch)
        total = LOSSES[self.config.loss](predicted, batch.truth)
        if dataset is not None and len(self.datasets) > 1:
            logits = self.which_dataset(dataset).float()
            total = total + 0.1 * functional.cross_entropy(logits, batch.dataset)
        if self.config.graph_consistency and len(self.pairs):
            total = total + self.config.graph_consistency * self._consistency()
        return total

    def _consistency(self) -> Tensor:
        chosen = [
            table[torch.randint(len(table), (min(_EDGES_A_STEP, len(table)),)).to(table.device)]
            for table in (self.pairs, self.others)
        ]
        return graph_consistency_loss(self.tokens().float(), *chosen)

    def columns(self, readouts: Vocabulary) -> tuple[Tensor, Tensor]:
        """Return which readouts the model knows, and their positions in its genes."""
        place = self.tokens.names.find(readouts)
        known = np.flatnonzero(place >= 0)
        return torch.from_numpy(known), torch.from_numpy(place[known])

    @torch.no_grad()
    def embed(self, x_ng: np.ndarray, columns: Tensor, *, at_once: int = 256) -> np.ndarray:
        """Return the cells' vectors, float32 [n, output_dim]; each depends on its cell alone.

        Args:
            x_ng: log-normalised values of the known readouts, from `columns`.
            columns: their positions in the model's genes.
            at_once: cells in one batch.
        """
        was_training = self.training
        self.eval()
        device = self.cls.device
        table = self.tokens(columns.to(device))
        # the same for all cells and all screens: a gene's place follows from its position here
        order = torch.rand(len(self.tokens.names), generator=torch.Generator().manual_seed(0))
        order = order[columns.cpu()].to(device)[None]
        parts = []
        for low in range(0, len(x_ng), at_once):
            x = torch.from_numpy(x_ng[low : low + at_once]).to(device)
            genes, values = sentences(x, self.config.sentence_length, order)
            parts.append(self.encode(table, genes, values)[0].cpu())
        self.train(was_training)
        return torch.cat(parts).numpy()

    def get_gene_embedding(self, genes: Sequence[str] | None = None) -> Features:
        """Return the tokens of genes by name, of all by default.

        Raises:
            UnknownNameError: a gene is not known.
        """
        return self.tokens.embedding(genes)

    def state(self) -> State:
        """Return weights, and vocabularies beside them."""
        arrays = {k: v.detach().cpu().numpy() for k, v in self.state_dict().items()}
        about = {"datasets": list(self.datasets), "tokens": self.tokens.plain(),
                 "n_pairs": len(self.pairs), "n_others": len(self.others)}  # fmt: skip
        return arrays, about

    @classmethod
    def restore(cls, config: StateEmbeddingConfig, state: State) -> Self:
        """Rebuild a model from its state."""
        arrays, about = state
        model = cls(config, about)
        model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
        return model.eval()


def depth(values_nl: Tensor) -> Tensor:
    """Return the mean of the values above 0 of each sentence, [n]."""
    return values_nl.sum(1) / (values_nl > 0).sum(1).clamp_min(1)


LOSSES = {
    "mse": functional.mse_loss, "bce": detection_loss, "tabular": tabular_energy,
    "energy": energy_distance, "wasserstein": wasserstein_genes, "mmd": mmd, "kl": profile_kl,
}  # fmt: skip
"""`(predicted [n, q], measured [n, q]) -> scalar`"""


def _linked(
    graphs: Mapping[str, Graph], names: Vocabulary, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of genes that a network links, and as many that none does, [e, 2]."""
    found = [edge_codes(g, names) for g in graphs.values()]
    if not found or not sum(map(len, found)):
        return np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)
    pairs = np.unique(np.concatenate(found), axis=0)
    codes = np.sort(pairs[:, 0] * len(names) + pairs[:, 1])
    return pairs, shuffled_partners(pairs, codes, len(names), rng)


card = ModelCard(
    name="state_embedding",
    summary="vectors of cells from a transformer over their genes, trained on hidden genes",
    source="STATE, embedding model (Adduri et al. 2025, bioRxiv 2025.06.26.661135); from a page",
    config=StateEmbeddingConfig,
    model=StateEmbedding,
    trained=True,
    level="cells",
    train={"learning_rate": 1e-3, "n_epochs": 5, "batch_cells": 64},
)
"""not in MODELS: it answers with vectors of cells, not with responses"""
