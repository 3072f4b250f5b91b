"""Intervals hold what they promise on planted errors, and survive a save to the bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.spread import Spread
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics.uncertainty import calibration
from perturbkit.train.uncertainty import LEVELS, Uncertainty, fit_uncertainty

N_READOUTS = 60
READOUTS = Vocabulary([f"R{i}" for i in range(N_READOUTS)], "readout")


def planted(rng: np.random.Generator, n: int, start: int) -> tuple[Responses, Responses]:
    """Truth and prediction: errors twice as large in context y, and of every size by readout."""
    size_g = np.exp(np.linspace(-2, 1, N_READOUTS))
    conditions = [Condition((f"T{start + i}",), c) for c in "xy" for i in range(n)]
    said = rng.normal(size=(2 * n, N_READOUTS)).astype(np.float32)
    error = rng.laplace(size=said.shape) * size_g * np.repeat([1.0, 2.0], n)[:, None]
    table = condition_table(conditions)
    truth = Responses((said + error)[None], table, READOUTS, "log2fc")
    seen = table.with_columns(status=np.full(2 * n, "seen"))
    return truth, Responses(said[None], seen, READOUTS, "log2fc")


def test_intervals_hold_their_share_of_what_is_held_out(rng: np.random.Generator) -> None:
    train, _ = planted(rng, 40, 0)
    uncertainty = fit_uncertainty(train, *planted(rng, 20, 100))
    assert uncertainty is not None
    truth, said = planted(rng, 60, 200)
    said = Responses(
        said.values, said.conditions, READOUTS, "log2fc", spread=uncertainty.spread(said)
    )
    table = calibration(truth, said)
    observed = dict(zip(table["level"], table["coverage"], strict=True))
    assert observed[0.8] == pytest.approx(0.8, abs=0.04)
    assert table["expected_calibration_error"][0] < 0.03
    low, high = said.interval(0.8)
    inside = (truth.mean_cg >= low) & (truth.mean_cg <= high)
    for rows in (said.contexts == "x", said.contexts == "y"):
        assert 0.74 < inside[rows].mean() < 0.86
    by_readout = inside.mean(0)
    assert by_readout.min() > 0.6
    width = (high - low)[said.contexts == "x"].mean(0)
    assert width[-1] > 5 * width[0]


def test_readouts_may_be_noisy_in_one_context_and_quiet_in_another(rng) -> None:
    size_kg = np.where(np.arange(N_READOUTS) < 30, [[2.0], [0.4]], [[0.4], [2.0]])

    def drawn(n: int, start: int) -> tuple[Responses, Responses]:
        truth, said = planted(rng, n, start)
        error = rng.laplace(size=(2, n, N_READOUTS)) * size_kg[:, None]
        said = Responses(0.1 * said.values, said.conditions, READOUTS, "log2fc")
        values = said.values + error.reshape(1, 2 * n, N_READOUTS)
        return Responses(values, truth.conditions, READOUTS, "log2fc"), said

    uncertainty = fit_uncertainty(drawn(200, 0)[0], *drawn(20, 300))
    assert uncertainty is not None
    truth, said = drawn(60, 400)
    half = uncertainty.spread(said).half_width(0.8)
    inside = np.abs(truth.mean_cg - said.mean_cg) <= half
    for rows in (said.contexts == "x", said.contexts == "y"):
        for noisy in (np.arange(N_READOUTS) < 30, np.arange(N_READOUTS) >= 30):
            assert 0.7 < inside[rows][:, noisy].mean() < 0.9


def test_the_state_of_an_older_run_is_read_with_one_variance_for_all_contexts(rng) -> None:
    train, _ = planted(rng, 10, 0)
    uncertainty = fit_uncertainty(train, *planted(rng, 10, 100))
    assert uncertainty is not None
    arrays, plain = uncertainty.state()
    variance = arrays.pop("variance_kg")[-1]
    again = Uncertainty.restore(arrays | {"variance_g": variance}, plain)
    _, said = planted(rng, 5, 200)
    scale = again.spread(said).scale_cg
    np.testing.assert_allclose(scale[0] / scale[0, 0], np.sqrt(variance / variance[0]), rtol=1e-5)


def test_shuffled_errors_would_not_be_called_calibrated(rng: np.random.Generator) -> None:
    """The check itself can fail: a scale from other data covers something else."""
    train, _ = planted(rng, 40, 0)
    uncertainty = fit_uncertainty(train, *planted(rng, 20, 100))
    assert uncertainty is not None
    truth, said = planted(rng, 60, 200)
    far = Responses(truth.values + 3 * (truth.values - said.values), truth.conditions, READOUTS,
                    "log2fc", spread=uncertainty.spread(said))  # fmt: skip
    assert calibration(truth, far)["expected_calibration_error"][0] > 0.1


def test_a_saved_state_gives_the_same_spread(rng: np.random.Generator) -> None:
    train, _ = planted(rng, 10, 0)
    uncertainty = fit_uncertainty(train, *planted(rng, 10, 100))
    assert uncertainty is not None
    arrays, plain = uncertainty.state()
    again = Uncertainty.restore(arrays, json.loads(json.dumps(plain)))
    _, said = planted(rng, 5, 200)
    np.testing.assert_array_equal(again.spread(said).scale_cg, uncertainty.spread(said).scale_cg)
    assert again.factors == uncertainty.factors


def test_a_status_never_met_is_as_wide_as_the_widest(rng: np.random.Generator) -> None:
    train, _ = planted(rng, 20, 0)
    truth, said = planted(rng, 20, 100)
    status = np.where(np.arange(40) % 2, "seen", "prior")
    wrong = np.where(np.arange(40) % 2, 1, 4)[:, None]
    values = said.mean_cg + wrong * (truth.mean_cg - said.mean_cg)
    truth = Responses(values[None], truth.conditions, READOUTS, "log2fc")
    told = said.conditions.with_columns(status=status)
    said = Responses(said.values, told, READOUTS, "log2fc")
    uncertainty = fit_uncertainty(train, truth, said)
    assert uncertainty is not None
    scale = {
        s: uncertainty.spread(
            Responses(said.values, told.with_columns(status=np.full(40, s)), READOUTS, "log2fc")
        ).scale_cg.mean()
        for s in ("seen", "prior", "neighbour")
    }
    assert scale["prior"] > 2 * scale["seen"]
    assert scale["neighbour"] == scale["prior"]


def test_too_few_conditions_state_nothing(rng: np.random.Generator) -> None:
    train, _ = planted(rng, 10, 0)
    assert fit_uncertainty(train, *planted(rng, 2, 100)) is None
    assert fit_uncertainty(train, None, None) is None


def test_responses_keep_their_spread_through_files_and_selection(rng, tmp_path: Path) -> None:
    truth, said = planted(rng, 4, 0)
    scale = rng.random((8, N_READOUTS)).astype(np.float32)
    spread = Spread(scale, LEVELS, tuple(2 * x for x in LEVELS))
    stated = Responses(said.values, said.conditions, READOUTS, "log2fc", spread=spread)
    stated.save(tmp_path / "r.parquet")
    again = Responses.load(tmp_path / "r.parquet")
    assert again.spread is not None
    np.testing.assert_array_equal(again.spread.scale_cg, scale)
    np.testing.assert_array_equal(again.values, said.values)
    part = again.select([3, 1]).with_readouts(Vocabulary(["R5", "R2"], "readout"))
    low, high = part.interval(0.5)
    np.testing.assert_allclose((high - low) / 2, scale[[3, 1]][:, [5, 2]], rtol=1e-4)
    with pytest.raises(SchemaError, match=r"was not calibrated; ask for 0\.05 to 0\.95"):
        part.interval(0.99)
    with pytest.raises(SchemaError, match="state no uncertainty"):
        truth.interval()
