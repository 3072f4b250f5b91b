"""What every metric promises, checked on a planted screen for each card in the catalogue."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics import METRICS
from perturbkit.metrics.align import align
from perturbkit.metrics.card import MetricCard, Pair

N_READOUTS = 250
CARDS = [pytest.param(card, id=name) for name, card in METRICS.items()]


def responses(values_cg: np.ndarray, conditions: pl.DataFrame) -> Responses:
    readouts = Vocabulary([f"g{i}" for i in range(values_cg.shape[1])], "readout")
    return Responses(values_cg[None], conditions, readouts, "log1p_cp10k")


@pytest.fixture(scope="module")
def truth() -> Responses:
    """Two contexts, a control and 12 perturbations in each; none targets a readout."""
    rng = np.random.default_rng(3)
    names = ["control", *(f"p{i}" for i in range(12))]
    rows = [(p, c) for c in ("left", "right") for p in names]
    base = {c: rng.gamma(2.0, 0.5, N_READOUTS) for c in ("left", "right")}
    effect = {p: rng.normal(0, 0.4, N_READOUTS) * (p != "control") for p in names}
    values = np.stack([base[c] + effect[p] + (p != "control") * 0.2 for p, c in rows])
    table = pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")
    return responses(values.astype(np.float32), table)


def pair_of(truth: Responses, predicted: Responses) -> Pair:
    return align(truth, {"model": predicted}, truth).pair("model")


def noisy(truth: Responses, scale: float) -> Responses:
    noise = np.random.default_rng(5).normal(0, scale, truth.values.shape)
    return replace(truth, values=truth.values + noise.astype(np.float32))


def shuffled(truth: Responses, conditions: np.ndarray, readouts: np.ndarray) -> Responses:
    names = Vocabulary([truth.readouts[i] for i in readouts], "readout")
    return truth.select(conditions).with_readouts(names)


@pytest.mark.parametrize("card", CARDS)
def test_truth_is_best(card: MetricCard, truth: Responses) -> None:
    score = card.fn(pair_of(truth, truth))
    assert score.shape == (24,)
    np.testing.assert_allclose(score, card.best, atol=1e-6)


@pytest.mark.parametrize("card", CARDS)
def test_noise_makes_it_worse_and_stays_in_bounds(card: MetricCard, truth: Responses) -> None:
    sign = 1 if card.better == "higher" else -1
    means = []
    for scale in (0.0, 0.4, 4.0):
        score = card.fn(pair_of(truth, noisy(truth, scale)))
        assert np.isfinite(score).all()
        assert (score >= card.bounds[0] - 1e-9).all()
        assert (score <= card.bounds[1] + 1e-9).all()
        means.append(sign * score.mean())
    assert means[0] >= means[1] > means[2]


@pytest.mark.parametrize("card", CARDS)
def test_order_of_readouts_and_conditions_is_irrelevant(card: MetricCard, truth: Responses) -> None:
    rng = np.random.default_rng(7)
    predicted = noisy(truth, 0.4)
    expected = pair_of(truth, predicted)
    rows, columns = rng.permutation(26), rng.permutation(N_READOUTS)
    other = pair_of(shuffled(truth, rows, columns), shuffled(predicted, rows[::-1], columns[::-1]))
    score = dict(zip(other.truth.keys, card.fn(other), strict=True))
    np.testing.assert_allclose(
        [score[k] for k in expected.truth.keys], card.fn(expected), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("card", CARDS)
def test_what_was_not_measured_does_not_count(card: MetricCard, truth: Responses) -> None:
    """Readouts that are NaN in truth score as if they were not there."""
    predicted = noisy(truth, 0.4)
    kept = np.arange(40, N_READOUTS)
    without = card.fn(
        pair_of(shuffled(truth, np.arange(26), kept), shuffled(predicted, np.arange(26), kept))
    )
    values = truth.values.copy()
    values[..., :40] = np.nan
    masked = card.fn(pair_of(replace(truth, values=values), predicted))
    np.testing.assert_allclose(masked, without, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("card", CARDS)
def test_the_card_is_complete(card: MetricCard) -> None:
    assert card.summary
    assert card.source
    assert card.undefined
    assert card.bounds[0] <= card.best <= card.bounds[1]
    assert card.best == (card.bounds[1] if card.better == "higher" else card.bounds[0])


@pytest.mark.parametrize("card", CARDS)
def test_shuffled_labels_do_not_beat_the_mean_response(card: MetricCard, truth: Responses) -> None:
    """The truth of other conditions of the context: all there is to know but which is which."""
    names, contexts = truth.conditions["perturbation"].to_list(), truth.contexts
    rows, mean = np.arange(26), truth.values.copy()
    for context in ("left", "right"):
        here = np.flatnonzero((contexts == context) & (np.array(names) != "control"))
        rows[here] = np.roll(here, 5)
        mean[0, here] = truth.values[0, here].mean(0)
    sign = 1 if card.better == "higher" else -1
    sides = (replace(truth, values=v) for v in (truth.values[:, rows], mean))
    shuffled, expected = (sign * card.fn(pair_of(truth, s)).mean() for s in sides)
    # a rank is 0.5 for the mean; that of other conditions scatters around a little less
    assert shuffled <= expected + 0.03 * abs(card.best or 1)
