"""What is kept from a network to stop on is given back, and what does not help is dropped."""

from pathlib import Path

import numpy as np
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.base import fit_base
from perturbkit.models.lpm import LpmConfig, card
from perturbkit.train.config import TrainConfig
from perturbkit.train.profiles import FitData, MemberPlan, fit_member

N_TARGETS, N_READOUTS = 60, 40
TRAIN = TrainConfig(
    n_epochs=12, block_rows=16, block_readouts=40, learning_rate=0.04, precision="fp32", patience=6
)


def screen(rng: np.random.Generator, signal: float) -> Responses:
    """Two contexts; the change is a product of target and readout factors, or noise alone."""
    change = np.tanh(rng.normal(size=(N_TARGETS, 3)) @ rng.normal(size=(3, N_READOUTS)))
    conditions, values = [], []
    for c, context in enumerate("xy"):
        values += [np.zeros(N_READOUTS), *(signal * (0.7 + 0.6 * c) * change)]
        conditions += [Condition((), context)]
        conditions += [Condition((f"T{i:02d}",), context) for i in range(N_TARGETS)]
    noisy = np.array(values) + rng.normal(0, 0.1, (len(values), N_READOUTS))
    noisy[[0, N_TARGETS + 1]] = 0
    names = Vocabulary([f"R{i}" for i in range(N_READOUTS)], "readout")
    return Responses(noisy[None], condition_table(conditions), names, "log2fc")


def plan(train: TrainConfig = TRAIN) -> MemberPlan:
    config = LpmConfig(base="context_mean", hidden_dim=32, slopes=False)
    return MemberPlan(card, config, train, seed=0, member=0)


def held_out(truth: Responses) -> tuple[Responses, Responses]:
    gone = np.r_[4:12]
    rest = np.setdiff1d(np.arange(len(truth.keys)), gone)
    return truth.select(rest), truth.select(gone)


def test_without_validation_the_base_has_everything_and_the_network_its_share(rng) -> None:
    train, test = held_out(screen(rng, 1.0))
    model = fit_member(plan(), FitData(train, None, None), None, None)
    base = fit_base("context_mean", train, rng)
    said = base.predict(test.conditions)[0]
    np.testing.assert_allclose(model.base.predict(test.conditions)[0], said, rtol=1e-6)
    assert 0 < model.share <= 1
    learned = model.predict(test.conditions).mean_cg
    errors = [np.square(v - test.mean_cg).mean() for v in (learned, said)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("validated", [True, False])
def test_a_network_that_learned_noise_is_dropped(validated, rng) -> None:
    train, test = held_out(screen(rng, 0.0))
    rows = np.arange(len(train.keys))
    val_rows = rows[-10:] if validated else rows[:0]
    data = FitData(train.select(np.setdiff1d(rows, val_rows)), None, None)
    if validated:
        data = FitData(data.train, train.select(val_rows), None)
    model = fit_member(plan(), data, None, None)
    assert model.share == 0
    said = model.base.predict(test.conditions)[0]
    np.testing.assert_array_equal(model.predict(test.conditions).mean_cg, said)


def test_a_second_fit_that_was_stopped_goes_on_to_the_same_bits(rng, tmp_path: Path) -> None:
    train, test = held_out(screen(rng, 1.0))
    data, often = FitData(train, None, None), plan(TRAIN.replace(checkpoint_seconds=0))
    whole = fit_member(often, data, None, None)
    run = Run.create(tmp_path / "run", {}, resume=False, force=False)
    looks = 0

    def stop_late(_member: int, step: int, _n_steps: int) -> None:
        nonlocal looks
        looks += step == 20
        if looks == 2 and step >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_member(often, data, run, stop_late)
    assert list((run.path / "checkpoints" / "member_0" / "again").glob("step_*"))
    again = fit_member(often, data, run, None)
    said, repeated = (m.predict(test.conditions).values for m in (whole, again))
    np.testing.assert_array_equal(said, repeated)
