"""Slopes on a base go as far as conditions it has not seen gain from, and no farther."""

import numpy as np
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.base import fit_base
from perturbkit.models.choose_base import ChosenBase

N, READOUTS = 45, 30


def screen(rng: np.random.Generator, carried: np.ndarray) -> Responses:
    """Two contexts; of the change in x, y keeps the share `carried` [g] of each readout."""
    change = rng.normal(size=(N, READOUTS))
    rows = [np.zeros(READOUTS), *change, np.zeros(READOUTS), *(carried * change)]
    conditions = [Condition((), c) if i < 0 else Condition((f"T{i:02d}",), c)
                  for c in "xy" for i in range(-1, N)]  # fmt: skip
    values = np.array(rows) + 0.1 * rng.normal(size=(len(rows), READOUTS))
    names = Vocabulary([f"R{i}" for i in range(READOUTS)], "readout")
    return Responses(values[None], condition_table(conditions), names, "log2fc")


def held_out(truth: Responses) -> tuple[Responses, Responses]:
    gone = np.r_[N + 2 : N + 14]
    rest = np.setdiff1d(np.arange(len(truth.keys)), gone)
    return truth.select(rest), truth.select(gone)


def test_slopes_are_taken_where_readouts_carry_over_differently(rng) -> None:
    train, val = held_out(screen(rng, np.where(np.arange(READOUTS) < 15, 1.0, 0.1)))
    chosen = ChosenBase.choose(["mean_delta"], train, rng).weighed(val)
    assert chosen.slope_share >= 0.5
    plain = np.square(chosen.plain.predict(val.conditions)[0] - val.mean_cg).mean()
    assert np.square(chosen.base.predict(val.conditions)[0] - val.mean_cg).mean() < 0.7 * plain
    assert np.nanmean(chosen.missed_cg**2) < np.nanmean(chosen.plain_missed_cg**2)


@pytest.mark.parametrize("carried", [0.0, 1.0])
def test_slopes_are_dropped_where_validation_does_not_gain(rng, carried) -> None:
    train, val = held_out(screen(rng, np.full(READOUTS, carried)))
    chosen = ChosenBase.choose(["context_mean"], train, rng).weighed(val)
    assert chosen.slope_share == 0
    assert chosen.base is chosen.plain
    assert chosen.missed_cg is chosen.plain_missed_cg


def test_auto_takes_the_base_that_errs_least_and_kinds_can_be_named(rng) -> None:
    train, _ = held_out(screen(rng, np.ones(READOUTS)))
    errors = {}
    for kind in ("context_mean", "mean_delta"):
        base = fit_base(kind, train, rng)
        missed = base.crossfitted_residual(train, np.random.default_rng(0))
        errors[kind] = float(np.nanmean(missed**2))
    best = min(errors, key=lambda kind: errors[kind])
    assert ChosenBase.choose([*errors], train, rng).plain.kind == best
    assert ChosenBase.choose(["none"], train, rng).with_slopes(1.0).slope_share == 0
