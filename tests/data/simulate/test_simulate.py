import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.core.condition import CONTROL, Condition, condition_keys
from perturbkit.core.errors import ConfigError, SchemaError, UnknownNameError
from perturbkit.core.graph import Graph
from perturbkit.data.simulate import PRESETS, SimulationConfig, preset, simulate


@pytest.fixture(scope="module")
def tiny():
    return simulate(preset("tiny"), np.random.default_rng(1))


def fingerprint(simulated):
    digest = hashlib.sha256()
    x = simulated.screen.adata.X
    for array in (x.data, x.indices, x.indptr, simulated.responses.values, simulated.levels,
                  simulated.graph.source, simulated.graph.weight):  # fmt: skip
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(simulated.screen.adata.obs.to_csv().encode())
    return digest.hexdigest()


def test_same_seed_same_bits_and_another_seed_another_screen(tiny):
    again = simulate(preset("tiny"), np.random.default_rng(1))
    other = simulate(preset("tiny"), np.random.default_rng(2))
    assert fingerprint(again) == fingerprint(tiny)
    assert fingerprint(other) != fingerprint(tiny)


def test_screen_is_sparse_float32_counts_with_controls_in_each_context_and_batch(tiny):
    obs = tiny.screen.adata.obs
    assert tiny.screen.adata.X.format == "csr"
    assert tiny.screen.adata.X.dtype == np.float32
    controls = obs[obs["perturbation"] == CONTROL]
    per_batch = controls.groupby(["context", "batch"], observed=True).size()
    assert len(per_batch) == 4
    assert (per_batch == 30).all()
    assert tiny.screen.readouts.names[0] == "G0001"
    assert tuple(tiny.graph.nodes) == tuple(tiny.screen.readouts) == tuple(tiny.responses.readouts)


def test_every_condition_has_a_truth_and_each_truth_its_cells(tiny):
    table = tiny.responses.conditions
    assert table.height == 2 * (1 + 20 + 6)
    measured = dict(zip(tiny.responses.keys, table["n_cells"], strict=True))
    counted = tiny.screen.conditions
    for key, n in zip(condition_keys(counted), counted["n_cells"], strict=True):
        assert measured[key] == n


def test_truth_of_what_is_not_in_the_screen_is_known_when_asked_for():
    config = preset("tiny").replace(coverage=0.5, truth="genes")
    simulated = simulate(config, np.random.default_rng(3))
    table = simulated.responses.conditions
    assert (table["n_cells"] == 0).sum() > 40
    assert len(simulated.screen.conditions) < table.height
    singles = {k for k in simulated.responses.keys if k.endswith("| line2") and "+" not in k}
    assert len(singles) == 61
    only = simulate(config.replace(truth="screen"), np.random.default_rng(3))
    assert (only.responses.conditions["n_cells"] > 0).all()
    same = simulated.responses.at(only.responses.keys)
    np.testing.assert_array_equal(same.values, only.responses.values)


def test_measured_profiles_approach_the_truth():
    config = SimulationConfig(n_genes=40, n_contexts=2, n_perturbations=5, n_cells=2000,
                              n_control_cells=2000).replace(cells={"batch_sd": 0.0})  # fmt: skip
    simulated = simulate(config, np.random.default_rng(0))
    x, codes = simulated.screen.adata.X, simulated.screen.row_codes()
    totals = np.stack([np.asarray(x[codes == i].sum(0)).ravel() for i in range(codes.max() + 1)])
    measured = np.log1p(1e4 * totals / totals.sum(1, keepdims=True))
    truth = simulated.responses.at(condition_keys(simulated.screen.conditions)).mean_cg
    assert np.abs(measured - truth).max() < 0.2
    assert np.sqrt(np.mean((measured - truth) ** 2)) < 0.03


def test_the_world_answers_further_conditions_and_new_experiments(tiny):
    world = tiny.world
    unseen = next(g for g in world.genes if g not in tiny.screen.targets)
    asked = [Condition((unseen,), context="line2", kind="crispri")]
    truth = world.respond([*world.controls(), *asked])
    own = world.genes.position(unseen)
    assert truth.delta_cg()[2, own] < -0.5
    screen = world.measure([*world.controls(), *asked], 10, np.random.default_rng(0))
    assert screen.adata.n_obs == 30
    with pytest.raises(UnknownNameError, match="no gene named"):
        world.respond([Condition(("G9999",), context="line1")])
    with pytest.raises(UnknownNameError, match="did you mean"):
        world.respond([Condition(("G0001",), context="lime1")])
    with pytest.raises(SchemaError, match="no control among"):
        world.measure(asked, 10, np.random.default_rng(0))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_reread_to_equal_settings(name):
    config = preset(name)
    assert SimulationConfig.parse(config.plain()) == config


def test_an_unknown_preset_is_named():
    with pytest.raises(UnknownNameError, match="did you mean 'tiny'"):
        preset("tinny")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"n_genes": 3}, "n_genes"),
        ({"n_genes": "300"}, "n_genes: expected int, got '300'"),
        ({"n_genes": 10**9}, "n_genes"),
        ({"n_genes": True}, "n_genes"),
        ({"n_gens": 300}, "did you mean 'n_genes'"),
        ({"n_perturbations": 301}, "exceeds n_genes"),
        ({"n_perturbations": 3, "n_doubles": 4}, "exceeds the 3 pairs"),
        ({"kind": "drug"}, "kind"),
        ({"coverage": 0.0}, "coverage"),
        ({"coverage": float("nan")}, "settings hold"),
        ({"n_cells": 100_000}, "lower n_cells"),
        ({"network": {"n_modules": 400}}, "network.n_modules"),
        ({"network": {"fold": 1.0}}, "network.fold"),
        ({"network": {"feedbak": 0.1}}, "did you mean 'feedback'"),
        ({"cells": {"dispersion": -1}}, "cells.dispersion"),
        ({"efficacy": "strong"}, "efficacy: expected a table"),
    ],
)
def test_hostile_settings_are_refused_by_name(values, match):
    with pytest.raises(ConfigError, match=match):
        SimulationConfig.parse(values)


def test_a_known_topology_is_used_as_the_network():
    edges = pl.DataFrame({"source": ["A", "A", "B"], "target": ["B", "C", "D"],
                          "sign": [1, -1, 1]})  # fmt: skip
    graph = Graph.of(edges, directed=True)
    config = SimulationConfig(n_genes=20, n_contexts=1, n_perturbations=3, n_cells=5, kind="ko")
    simulated = simulate(config, np.random.default_rng(0), topology=graph)
    assert tuple(simulated.screen.readouts) == ("A", "B", "C", "D")
    assert simulated.levels.tolist() == [0, 1, 1, 2]
    np.testing.assert_array_equal(simulated.graph.sign, graph.sign)
    truth = simulated.world.respond([*simulated.world.controls(), Condition(("A",), "line1", "ko")])
    rest, changed = simulated.world.log_levels([Condition(("A",), "line1", "ko")])
    assert (np.sign(changed - rest)[0] == [-1, -1, 1, -1]).all()
    assert truth.delta_cg()[1, 0] < 0
    with pytest.raises(SchemaError, match="4 genes and 5 perturbations"):
        simulate(config.replace(n_perturbations=5), np.random.default_rng(0), topology=graph)
    undirected = Graph.of(edges, directed=False)
    with pytest.raises(SchemaError, match="directed graph"):
        simulate(config, np.random.default_rng(0), topology=undirected)


SHARE = st.sampled_from([0.0, 0.5, 1.0])


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.tuples(st.integers(20, 80), st.integers(1, 3), st.integers(2, 10), st.integers(0, 1)),
    kind=st.sampled_from(["crispri", "crispra", "ko"]),
    truth=st.sampled_from(["screen", "all", "genes"]),
    shares=st.fixed_dictionaries({"within_module": SHARE, "complexes": SHARE, "activators": SHARE,
                                  "common_response": SHARE}),
    contexts=st.fixed_dictionaries({"edge_difference": st.sampled_from([0.0, 0.99]),
                                    "silenced": st.sampled_from([0.0, 0.5])}),
    cells=st.fixed_dictionaries({"dispersion": st.sampled_from([0.0, 5.0]),
                                 "n_batches": st.sampled_from([1, 50]),
                                 "umi": st.sampled_from([10.0, 5000.0])}),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_every_permitted_extreme_gives_a_valid_screen(
    sizes, kind, truth, shares, contexts, cells, seed
):
    n_genes, n_contexts, n_perturbations, n_doubles = sizes
    config = SimulationConfig.parse(
        {"n_genes": n_genes, "n_contexts": n_contexts, "n_perturbations": n_perturbations,
         "n_doubles": n_doubles, "kind": kind, "truth": truth, "n_cells": 2, "n_control_cells": 3,
         "network": shares, "context": contexts, "cells": cells}
    )  # fmt: skip
    simulated = simulate(config, np.random.default_rng(seed))
    assert np.isfinite(simulated.responses.values).all()
    assert simulated.responses.values.min() >= 0
    assert simulated.screen.adata.n_obs == n_contexts * (3 + 2 * (n_perturbations + n_doubles))
    totals = np.expm1(simulated.responses.mean_cg.astype(float)).sum(1)
    np.testing.assert_allclose(totals, 1e4, rtol=1e-3)
