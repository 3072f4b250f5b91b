"""Effects in proportion to expression carry over to contexts; networks say what targets reach."""

import json

import numpy as np
import polars as pl
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.controls import rewire
from perturbkit.models.reach import Reach
from perturbkit.models.relative_effects import (
    RelativeEffects,
    RelativeEffectsConfig,
    crossfitted_changes,
)

N = 40


def chain() -> Graph:
    """G00 -> G01 -> ... in fives: a directed network with signs."""
    source = [f"G{i:02d}" for i in range(N) if i % 5 < 4]
    target = [f"G{i + 1:02d}" for i in range(N) if i % 5 < 4]
    sign = [1 if i % 2 else -1 for i in range(len(source))]
    edges = pl.DataFrame({"source": source, "target": target, "sign": sign})
    return Graph.of(edges, directed=True, nodes=[f"G{i:02d}" for i in range(N)])


def planted(rng: np.random.Generator, noise: float = 0.02) -> tuple[Responses, np.ndarray]:
    """Knock-downs in three contexts whose genes differ in expression; the law is the model's."""
    control = rng.gamma(1.0, 1.0, (3, N))
    h = -np.expm1(-control)
    along = np.zeros((N, N))
    for i in range(N):
        along[i, i] = -1.0
        if i % 5 < 4:
            along[i, i + 1] = -0.5 if (i - i // 5) % 2 else 0.5
    values, conditions = [], []
    for k, context in enumerate("xyz"):
        values.append(control[k])
        conditions.append(Condition(context=context))
        for i in range(N):
            own = np.eye(N)[i] * along[i] + (1 - np.eye(N)[i]) * along[i] * h[k, i]
            values.append(control[k] + h[k] * own + noise * rng.normal(size=N))
            conditions.append(Condition((f"G{i:02d}",), context))
    readouts = Vocabulary([f"G{i:02d}" for i in range(N)], "readout")
    return Responses(np.array(values)[None], condition_table(conditions), readouts,
                     "log1p_cp10k"), h  # fmt: skip


def error(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(np.square(predicted - truth).mean())


def test_a_context_of_other_expression_is_answered_in_proportion(rng) -> None:
    truth, _ = planted(rng)
    gone = (truth.contexts == "z") & ~truth.is_control
    test = truth.select(gone)
    model = RelativeEffects.fit(RelativeEffectsConfig(), truth.select(~gone), None, rng)
    predicted = model.predict(test.conditions)
    assert set(predicted.conditions["status"]) == {"prior"}
    change = test.mean_cg - truth.control_of(test.contexts)
    same = truth.delta_cg()[(truth.contexts == "x") & ~truth.is_control]
    ours = error(predicted.mean_cg, test.mean_cg)
    assert ours < 0.4 * error(same, change)


def test_real_edges_help_targets_never_seen_and_rewired_ones_do_not(rng) -> None:
    truth, _ = planted(rng, noise=0.005)
    unseen = [f"G{i:02d}" for i in range(0, N, 3)]
    held = truth.conditions["perturbation"].is_in(unseen).to_numpy()
    train, test = truth.select(~held), truth.select(held)
    errors = {}
    for name, graph in {"real": chain(), "rewired": rewire(chain(), rng), "none": None}.items():
        graphs = None if graph is None else {"chain": graph}
        model = RelativeEffects.with_graphs(RelativeEffectsConfig(), train, graphs)
        errors[name] = error(model.predict(test.conditions).mean_cg, test.mean_cg)
    assert errors["real"] < 0.5 * errors["none"]
    assert errors["rewired"] > 0.8 * errors["none"]


def test_crossfitted_changes_never_saw_their_condition(rng) -> None:
    truth, _ = planted(rng, noise=0.3)
    found = crossfitted_changes(RelativeEffectsConfig(), truth, None, rng)
    assert set(found) == {k for k, c in zip(truth.keys, truth.is_control, strict=True) if not c}
    rows = np.flatnonzero(~truth.is_control)
    measured = truth.delta_cg()[rows]
    unseen = np.stack([found[truth.keys[i]] for i in rows])
    seen = RelativeEffects.fit(RelativeEffectsConfig(), truth, None, rng)
    assert error(unseen, measured) > error(
        seen.predict(truth.conditions).delta_cg()[rows], measured
    )


def test_reach_follows_edges_forwards_and_says_what_it_knows() -> None:
    reach = Reach.of(Vocabulary([f"G{i:02d}" for i in range(N)]), {"chain": chain()})
    assert reach.kinds == ("own", "chain 1", "chain 2", "chain 1 signed", "chain 2 signed")
    one = reach.of_targets([("G00",), ("G00", "G10")], [np.array([0.5]), np.array([1.0, 1.0])])
    assert one[0, 0].nonzero()[0].tolist() == [0]
    assert one[1, 0].nonzero()[0].tolist() == [1]
    assert one[2, 0].nonzero()[0].tolist() == [2]
    assert one[3, 0, 1] == -one[1, 0, 1]
    np.testing.assert_allclose(one[1, 1, 1], 2 * one[1, 0, 1])
    assert reach.knows("G03")
    assert not reach.knows("NOSUCH")


def test_reach_of_a_gene_that_is_no_readout() -> None:
    edges = pl.DataFrame({"source": ["TF"], "target": ["G01"]})
    graph = Graph.of(edges, directed=True)
    reach = Reach.of(Vocabulary(["G00", "G01"]), {"one": graph})
    assert reach.knows("TF")
    assert reach.of_targets([("TF",)], [np.ones(1)])[1, 0].tolist() == pytest.approx([0, 1])


def test_reach_is_restored_to_the_bit() -> None:
    reach = Reach.of(Vocabulary([f"G{i:02d}" for i in range(N)]), {"chain": chain()})
    arrays, about = reach.state()
    again = Reach.restore((arrays, json.loads(json.dumps(about))))
    asked = [("G07",), ("G01", "G02")], [np.ones(1), np.ones(2)]
    np.testing.assert_array_equal(again.of_targets(*asked), reach.of_targets(*asked))


def test_with_one_context_noise_says_how_far_to_shrink(rng) -> None:
    truth, _ = planted(rng, noise=0.0)
    one = truth.select(truth.contexts == "x")
    errors = {}
    for noise in (0.02, 0.3):
        halves = one.mean_cg + noise * rng.normal(size=(2, *one.mean_cg.shape)).astype(np.float32)
        halves[:, one.is_control] = one.mean_cg[one.is_control]
        measured = Responses(halves.mean(0)[None], one.conditions, one.readouts, one.unit, halves)
        model = RelativeEffects.fit(RelativeEffectsConfig(), measured, None, rng)
        predicted = model.predict(one.conditions)
        errors[noise] = (
            error(predicted.mean_cg, one.mean_cg),
            error(measured.mean_cg, one.mean_cg),
        )
    # next to no noise: what was measured is believed; much of it: it is not
    assert errors[0.02][0] < 2 * errors[0.02][1]
    assert errors[0.3][0] < 0.5 * errors[0.3][1]
