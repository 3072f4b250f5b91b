import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from perturbkit.core.errors import SchemaError
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.store import store_of
from perturbkit.grn.from_model import from_model
from perturbkit.models import MODELS
from perturbkit.models.cells import CellData
from perturbkit.models.gpo_vae.published import matched_distances
from perturbkit.train.cells import build_of_cells, cell_data
from perturbkit.train.config import TrainConfig
from perturbkit.train.loop import Hooks, train

SMALL = {"latent_dim": 6, "hidden_dim": 24, "n_draws": 16, "guide_dim": 16, "n_responders": 8}


def data_of(screen: Screen) -> CellData:
    return cell_data(store_of(screen), responses_of(screen), (), np.random.default_rng(0))


def fitted(cells: CellData, n_epochs: int = 2, rate: float = 2e-3, **settings):
    card = MODELS["gpo_vae"]
    training = TrainConfig.parse(
        {**card.train, "n_epochs": n_epochs, "batch_cells": 256, "learning_rate": rate}
    )
    config = card.config.parse(SMALL | settings)
    model, source, _ = build_of_cells(
        card, config, cells, None, training, lambda name: named_rng(0, name)
    )
    train(model, source, training, named_rng(0, "train"), Hooks())
    return model.eval()


@pytest.fixture(scope="module")
def world():
    config = preset("planted_edges").replace(n_genes=150, n_perturbations=15, n_control_cells=600)
    return simulate(config, np.random.default_rng(0))


@pytest.fixture(scope="module")
def model(world):
    return fitted(data_of(world.screen))


def test_calibrated_edges_find_the_planted_network_with_its_signs(world, model) -> None:
    graph = from_model(model)
    truth = {(int(a), int(b)): int(s) for a, b, s in zip(
        world.graph.source, world.graph.target, world.graph.sign, strict=True)}  # fmt: skip
    place = world.graph.nodes.encode(graph.nodes)
    pairs = [
        (int(place[a]), int(place[b])) for a, b in zip(graph.source, graph.target, strict=True)
    ]
    known = np.array([p in truth for p in pairs])
    assert roc_auc_score(known, graph.weight) > 0.8
    sure = (graph.columns["fdr"] <= 0.05) & known
    assert sure.sum() >= 15
    assert known[graph.columns["fdr"] <= 0.05].mean() > 0.8
    signs = np.array([truth[p] for p, s in zip(pairs, sure, strict=True) if s])
    assert (signs == graph.sign[sure]).mean() > 0.9
    assert set(np.unique(graph.source)) <= set(graph.nodes.encode(world.screen.targets))


def test_responders_without_a_perturbation_are_not_identified(world, model) -> None:
    table = model.regulators()
    known = dict(table.iter_rows())
    targets = set(world.screen.targets)
    assert {g for g, identified in known.items() if identified} == targets
    assert 0 < sum(not identified for identified in known.values()) <= 8
    graph = model.graph()
    assert {graph.nodes[int(i)] for i in np.unique(graph.source)} <= targets


def test_control_cells_under_invented_labels_give_no_edge(world) -> None:
    adata = world.screen.adata
    adata = adata[(adata.obs["perturbation"] == "control").to_numpy()].copy()
    names = list(world.screen.readouts)[:8]
    labels = np.array((["control"] * 7 + names[:1]) * 75, dtype=object)[: adata.n_obs]
    labels[labels != "control"] = np.resize(names, (labels != "control").sum())
    adata.obs["perturbation"] = np.random.default_rng(1).permutation(labels)
    screen = Screen.of(adata, level="cells", unit="counts", constants={"kind": "crispri"})
    graph = fitted(data_of(screen), 1).graph()
    assert (graph.columns["fdr"] > 0.05).all()


def test_published_head_learns_the_distance_of_single_cells(world) -> None:
    """Its logits order pairs as the median distance from a matched control does."""
    cells = data_of(world.screen)
    model = fitted(cells, 6, 3e-2, head="published", hop=2)
    graph = model.graph()
    p, n = len(world.screen.targets), len(model.genes)
    assert graph.n_edges == p * n - p
    assert "fdr" not in graph.columns
    assert (graph.sign == 0).all()
    place = cells.store.readouts.encode(model.genes)
    distance = matched_distances(cells, place, place[:p])
    names = cells.store.conditions["perturbation"].to_numpy()[cells.store.arrays["condition"]]
    trained = np.isin(np.arange(cells.store.n_cells), cells.train_n)
    weight = graph.adjacency.toarray()[: len(model.genes), : len(model.genes)]
    rows = [np.median(distance[trained & (names == g)], 0) for g in model.genes[:p]]
    off = ~np.eye(p, n, dtype=bool)
    assert spearmanr(np.array(rows)[off], weight[:p][off]).statistic > 0.6
    assert np.isfinite(model.predict(cells.profiles.conditions).values).all()


def test_gains_of_function_turn_the_sign(world) -> None:
    adata = world.screen.adata.copy()
    adata.obs["kind"] = "crispra"
    screen = Screen.of(adata, level="cells", unit="counts")
    loss, gain = fitted(data_of(world.screen), 1).graph(), fitted(data_of(screen), 1).graph()
    a, b = loss.table().head(20), gain.table().head(20)
    joined = a.join(b, on=["source", "target"], suffix="_gain")
    assert joined.height > 15
    assert (joined["sign"] == -joined["sign_gain"]).all()


def test_screens_without_a_measured_target_are_refused(world) -> None:
    adata = world.screen.adata
    hidden = adata[:, ~adata.var_names.isin(list(world.screen.targets))].copy()
    screen = Screen.of(hidden, level="cells", unit="counts")
    with pytest.raises(SchemaError, match="among the readouts"):
        fitted(data_of(screen))
