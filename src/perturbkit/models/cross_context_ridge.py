"""What a perturbation does in other contexts predicts, by ridge, what it does in this one."""

from typing import Self

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.closed_form import RidgePath, centred, leading_directions, slope
from perturbkit.models.deltas import Effects, Frame
from perturbkit.models.shrunken import ShrinkageConfig, shrinkage_left_out


class CrossContextRidgeConfig(Config):
    """How many directions of readouts are predicted, from what, and how smoothly."""

    directions: int | None = Field(default=30, ge=1)
    """leading directions of all contexts' deviations in which the prediction lives; null for all,
    which is the plain kernel ridge on every readout"""
    components: int | None = Field(default=None, ge=1)
    """leading principal components of the other contexts' profiles to predict from; null for all"""
    ridges: tuple[float, ...] = Field(default=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0), min_length=1)
    """penalties to choose from by leaving one out, in units of the mean eigenvalue"""
    share: float | None = Field(default=None, ge=0, le=1)
    """how much of the perturbation's own mean deviation elsewhere is added; null: chosen by least
    squares on what the ridge misses in leaving one out"""


def gram_of_others(
    gram_rr: np.ndarray, effects: Effects, context: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel between perturbations over all contexts but one.

    Features are the deviations in the other contexts side by side, 0 where not measured, divided
    by the square root of the number of contexts measured.

    Args:
        gram_rr: Gram matrix of the rows of `effects`.
        effects: training changes.
        context: code of the context that is left out.

    Returns:
        Kernel [p, p], and the number of other contexts each perturbation was measured in.
    """
    n_perturbations = len(effects.frame.perturbations)
    kernel = np.zeros((n_perturbations, n_perturbations))
    n_p = np.zeros(n_perturbations)
    for other in np.flatnonzero(effects.frame.trained_k):
        if other != context:
            rows = np.flatnonzero(effects.context_r == other)
            codes = effects.perturbation_r[rows]
            kernel[np.ix_(codes, codes)] += gram_rr[np.ix_(rows, rows)]
            n_p[codes] += 1
    scale = np.sqrt(np.maximum(n_p, 1))
    return kernel / (scale[:, None] * scale), n_p


def leading_part(kernel_pp: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Return the kernel of the leading principal components found on `rows`."""
    size, vectors = np.linalg.eigh(kernel_pp[np.ix_(rows, rows)])
    kept = size[-n:] > size[-1] * 1e-10
    scores = kernel_pp[:, rows] @ (vectors[:, -n:] / np.sqrt(np.maximum(size[-n:], 1e-300)))
    return scores[:, kept] @ scores[:, kept].T


def fit_context(
    config: CrossContextRidgeConfig,
    kernel_pp: np.ndarray,
    own_pr: np.ndarray,
    rows_p: np.ndarray,
    target_nr: np.ndarray,
) -> np.ndarray:
    """Predict the scores of every perturbation in one context, [p, r].

    Args:
        config: settings.
        kernel_pp: kernel between perturbations over the other contexts.
        own_pr: mean score of each perturbation over the other contexts.
        rows_p: codes of the perturbations measured here and elsewhere.
        target_nr: their scores here.
    """
    kernel = centred(kernel_pp, rows_p)
    if config.components is not None:
        kernel = leading_part(kernel, rows_p, config.components)
    path = RidgePath(kernel[np.ix_(rows_p, rows_p)], target_nr)
    ridge = config.ridges[int(np.argmin(path.errors(config.ridges)))]
    own = own_pr - own_pr[rows_p].mean(0)
    share = slope(own[rows_p], path.missed_nr(ridge)) if config.share is None else config.share
    return kernel[:, rows_p] @ path.dual_nr(ridge) + path.mean_r + share * own


class CrossContextRidge:
    """Context mean plus a ridge from the deviation of the same perturbation in other contexts.

    Deviations of all contexts span a few shared directions of readouts. In each context a kernel
    ridge maps the profiles of a perturbation elsewhere to its scores along these directions, and a
    share of its own mean deviation elsewhere is added. Perturbations measured here only keep
    their own shrunken deviation; in a context of which only the control is known, the mean over
    the others is carried over (`prior`). A combination never seen gets the sum of its targets'
    deviations; perturbations never seen the mean change, `prior`.
    """

    def __init__(self, frame: Frame, direction_rg: np.ndarray, score_kpr: np.ndarray) -> None:
        self.frame = frame
        self.direction_rg = direction_rg
        self.score_kpr = score_kpr

    @classmethod
    def fit(
        cls,
        config: CrossContextRidgeConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Find the shared directions, then fit the ridge of each context.

        Args:
            config: settings.
            train: measured conditions, controls included.
            features: not used.
            rng: draws the sketch that finds the directions when there are more than 600 rows.
        """
        effects = Effects.of(train)
        deviation = effects.deviation_rg
        wanted = config.directions or len(deviation)
        directions = leading_directions(deviation, wanted, rng)
        score_r = (deviation @ directions.T).astype(np.float64)
        gram = (deviation @ deviation.T).astype(np.float64)
        scores = shared_scores(effects, score_r)
        for context in np.flatnonzero(effects.frame.trained_k):
            kernel, n_p = gram_of_others(gram, effects, int(context))
            row_p = effects.row_kp[context]
            both = np.flatnonzero((row_p >= 0) & (n_p > 0))
            if len(both) < 3:
                continue  # too few to learn from: the shrunken mean stays
            own = sums(effects, score_r, effects.context_r != context) / np.maximum(n_p, 1)[:, None]
            fitted = fit_context(config, kernel, own, both, score_r[row_p[both]])
            scores[context][n_p > 0] = fitted[n_p > 0]
        return cls(effects.frame, directions, scores.astype(np.float32))

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus mean change plus predicted deviation."""
        asked = self.frame.ask(conditions)
        parts, n_missing = asked.parts(whole=True)
        score_qr = np.zeros((len(asked), len(self.direction_rg)))
        for context in np.unique(asked.context_q):
            here = np.flatnonzero(asked.context_q == context)
            score_qr[here] = parts[here] @ self.score_kpr[context]
        delta = self.frame.mean_of(asked.context_q) + score_qr @ self.direction_rg
        return asked.answer(delta, asked.status(n_missing == 0, "prior"))

    def state(self) -> State:
        """Return names, means, directions and scores."""
        arrays, values = self.frame.state()
        return {**arrays, "direction_rg": self.direction_rg, "score_kpr": self.score_kpr}, values

    @classmethod
    def restore(cls, config: CrossContextRidgeConfig, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, _ = state
        return cls(Frame.restore(state), arrays["direction_rg"], arrays["score_kpr"])


def sums(effects: Effects, score_r: np.ndarray, use_r: np.ndarray) -> np.ndarray:
    """Sum the scores of each perturbation over the rows to use, [p, r]."""
    total = np.zeros((len(effects.frame.perturbations), score_r.shape[1]))
    np.add.at(total, effects.perturbation_r[use_r], score_r[use_r])
    return total


def shared_scores(effects: Effects, score_r: np.ndarray) -> np.ndarray:
    """Return the shrunken mean score of each perturbation, for each context and one unknown.

    The last of the contexts stands for any that was never seen, code -1.
    """
    n_p = np.bincount(effects.perturbation_r, minlength=len(effects.frame.perturbations))
    shrinkage = shrinkage_left_out(effects, ShrinkageConfig().shrinkages)
    everywhere = sums(effects, score_r, np.ones(len(score_r), bool))
    shrunken = everywhere / np.maximum(n_p + shrinkage, 1e-9)[:, None]
    return np.repeat(shrunken[None], len(effects.frame.contexts) + 1, 0)


card = ModelCard(
    name="cross_context_ridge",
    summary="kernel ridge from a perturbation's profiles in other contexts to its deviation here",
    source=(
        "kernel ridge regression on shared principal directions, with a share of the "
        "perturbation's own deviation; see docs/benchmarks/op3.md"
    ),
    config=CrossContextRidgeConfig,
    model=CrossContextRidge,
    baseline=True,
    needs=frozenset({"contexts"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
