"""Networks side by side: equal edges, held-out cells and perturbations, the perturbed gene."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import ConfigError, SchemaError
from perturbkit.core.graph import Graph
from perturbkit.grn.draw_curves import draw_curves
from perturbkit.grn.effects import mean_effects
from perturbkit.grn.explain import explain
from perturbkit.grn.held_out import folds_of, infer_unperturbed, split_cells, without
from perturbkit.grn.identify import identify
from perturbkit.grn.score import SCHEMA, Judges, score_networks
from perturbkit.grn.statistical import interventions


@pytest.fixture(scope="module")
def halves(screen_with_edges):
    return split_cells(screen_with_edges.screen, np.random.default_rng(0), test_share=0.5)


@pytest.fixture(scope="module")
def networks(halves):
    found = explain(halves[0], method="knockout_z", rng=np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(found.n_edges)
    return {"knockout_z": found, "shuffled": replace(found, weight=found.weight[order])}


def truth_of(planted):
    p, g = np.nonzero(planted.truth_pg)
    table = {"source": [f"g{i}" for i in p], "target": [f"g{j}" for j in g],
             "sign": np.sign(planted.truth_pg[p, g])}  # fmt: skip
    return Graph.of(pl.DataFrame(table), directed=True, nodes=list(planted.screen.readouts))


def test_every_condition_is_split_and_no_cell_is_in_both(halves, screen_with_edges):
    train, test = halves
    assert not set(train.adata.obs_names) & set(test.adata.obs_names)
    assert train.adata.n_obs + test.adata.n_obs == screen_with_edges.screen.adata.n_obs
    counts = [s.adata.obs["perturbation"].value_counts() for s in halves]
    assert ((counts[0] - counts[1]).abs() <= 1).all()
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_cells(train, np.random.default_rng(0), test_share=1.0)


def test_networks_are_compared_at_equal_edges_with_intervals(
    halves, networks, screen_with_edges, rng, tmp_path
):
    held_out = interventions(halves[1], every_readout=True)
    truth = truth_of(screen_with_edges)
    tests = Judges(held_out.sources, held_out.targets, interventions=held_out, truth=truth,
                  effects=mean_effects(halves[1]), standards={"database": truth})  # fmt: skip
    table = score_networks(networks, tests, rng, n_edges=60, n_bootstrap=50)
    assert table.schema == SCHEMA

    def value(network, against, score):
        rows = table.filter(pl.col("network") == network, pl.col("against") == against,
                            pl.col("score") == score)  # fmt: skip
        return rows.row(0, named=True)

    judged = {"interventions": "moved_fdr", "database": "auprc_ratio", "truth": "auroc",
              "perturbed gene": "mean_reciprocal_rank"}  # fmt: skip
    for against, score in judged.items():
        assert value("knockout_z", against, score)["value"] > (
            value("shuffled", against, score)["value"] + 0.1
        )
    row = value("knockout_z", "interventions", "mean_wasserstein")
    assert row["n_edges"] == 60
    assert row["low"] < row["value"] < row["high"]
    falling = table.filter(pl.col("network") == "knockout_z", pl.col("against") == "interventions",
                           pl.col("score").str.starts_with("moved_fdr"))  # fmt: skip
    assert (np.diff(falling.sort("n_edges")["value"]) <= 1e-9).all()
    assert draw_curves(table, tmp_path / "curves.svg") == 4
    assert (tmp_path / "curves.svg").stat().st_size > 5000


def test_edges_nobody_can_judge_are_refused(networks, rng):
    with pytest.raises(ConfigError, match="check the gene names"):
        score_networks(networks, Judges(("x",), ("y",)), rng)


def test_profiles_are_no_cells(halves, rng):
    from perturbkit.data.profiles import responses_of
    from perturbkit.grn.imputed import screen_of

    with pytest.raises(SchemaError, match="compare cells"):
        interventions(screen_of(responses_of(halves[0], rng)))


def test_held_out_perturbations_are_not_seen_and_only_their_edges_are_given(halves, rng):
    train = halves[0]
    folds = folds_of(list(train.targets), 4, rng)
    assert sorted(g for f in folds for g in f) == sorted(train.targets)
    rest = without(train, folds[0])
    assert not set(folds[0]) & set(rest.targets)
    assert set(rest.targets) == set(train.targets) - set(folds[0])
    assert infer_unperturbed(train, "knockout_z", folds, rng) is None
    graph = infer_unperturbed(train, "correlation", folds[:1], rng)
    assert {graph.nodes[int(i)] for i in graph.source} <= set(folds[0])
    with pytest.raises(ConfigError, match="between 2 and"):
        folds_of(list(train.targets), 19, rng)


def test_an_empty_network_finds_the_perturbed_gene_as_chance_does(halves, networks):
    effects = mean_effects(halves[1])
    nodes = list(networks["knockout_z"].nodes)
    empty = networks["knockout_z"].select(np.zeros(0, np.int64))
    none = identify(empty, effects)
    p = len(effects.sources)
    assert none["mean_reciprocal_rank"] == pytest.approx(2 / (p + 1))
    assert none["recall_at_1"] == 0
    found = identify(networks["knockout_z"], effects)
    assert found["recall_at_5"] > 0.5 > 5 / p
    turned = Graph.of(networks["knockout_z"].table().with_columns(sign=-pl.col("sign")),
                      directed=True, nodes=nodes)  # fmt: skip
    assert identify(turned, effects)["recall_at_5"] < 0.3
