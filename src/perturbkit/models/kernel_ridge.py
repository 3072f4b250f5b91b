"""Kernel ridge on gene features: a smooth function from what a gene is to what it does."""

from typing import Self

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.closed_form import RidgePath, centred, leading_directions
from perturbkit.models.deltas import Effects, Frame
from perturbkit.models.target_features import TargetFeatures

_JUDGED = 50
"""Settings are chosen on this many leading directions of the deviations, and ..."""
_JUDGES = 300
"""... on this many targets of each context, drawn at random where there are more"""


class KernelRidgeConfig(Config):
    """Kernel widths and penalties to choose from."""

    widths: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0, 8.0), min_length=1)
    """of the Gaussian kernel, in units of the median squared distance between targets"""
    ridges: tuple[float, ...] = Field(
        default=(0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 1000.0), min_length=1
    )
    """penalties in units of the mean eigenvalue of the kernel"""


def squared_distances(x_tw: np.ndarray, y_nw: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, [t, n], never negative."""
    squares = (x_tw**2).sum(1)[:, None] + (y_nw**2).sum(1)[None] - 2 * x_tw @ y_nw.T
    return np.maximum(squares, 0)


class KernelRidge:
    """Context mean plus a Gaussian kernel ridge from the target's features to its deviation.

    Width and penalty are those with the smallest leave-one-out error, all contexts together.
    Unseen targets are `prior`, targets without features refused; combinations get the sum over
    their targets. Training combinations are not used.
    """

    def __init__(
        self,
        frame: Frame,
        targets: TargetFeatures,
        weights: dict[str, np.ndarray],
        gamma: float,
    ) -> None:
        self.frame = frame
        self.targets = targets
        self.weights = weights
        self.gamma = gamma

    @classmethod
    def fit(
        cls,
        config: KernelRidgeConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Choose width and penalty by leave-one-out, then fit each context."""
        effects = Effects.of(train)
        targets = TargetFeatures.of(effects, features, rng)
        deviation = effects.deviation_rg
        rows_k = [targets.rows(effects, k) for k in range(len(effects.frame.contexts))]
        rows_k = [rows for rows in rows_k if len(rows) > 1]
        offset_kg = np.zeros((len(effects.frame.contexts) + 1, deviation.shape[1]), np.float32)
        weights = {
            "anchor_a": np.zeros(0, np.int64),
            "context_a": np.zeros(0, np.int64),
            "dual_ag": deviation[:0],
            "offset_kg": offset_kg,
        }
        if not rows_k:
            return cls(effects.frame, targets, weights, 1.0)
        scores = deviation @ leading_directions(deviation, _JUDGED, rng).T
        squares_k = [squared_distances(v, v) for v in (targets.of_rows(effects, r) for r in rows_k)]
        typical = np.median(np.concatenate([s[np.triu_indices_from(s, 1)] for s in squares_k]))
        gammas = [1 / (w * max(float(typical), 1e-12)) for w in config.widths]
        judges_k = [np.sort(rng.permutation(len(rows))[:_JUDGES]) for rows in rows_k]
        judged = [s[np.ix_(j, j)] for s, j in zip(squares_k, judges_k, strict=True)]
        scores_k = [scores[r[j]].astype(np.float64) for r, j in zip(rows_k, judges_k, strict=True)]
        gamma, ridge = choose(judged, scores_k, gammas, config.ridges)
        duals = []
        for squares, rows in zip(squares_k, rows_k, strict=True):
            kernel = np.exp(-gamma * squares)
            mean, dual = solve(kernel, deviation[rows].astype(np.float64), ridge)
            duals.append(dual)
            offset_kg[effects.context_r[rows[0]]] = mean - kernel.mean(0) @ dual
        with_rows = [effects.context_r[rows[0]] for rows in rows_k]
        offset_kg[np.setdiff1d(np.arange(len(offset_kg)), with_rows)] = offset_kg[with_rows].mean(0)
        rows = np.concatenate(rows_k)
        weights["anchor_a"] = targets.name_p[effects.perturbation_r[rows]]
        weights["context_a"] = effects.context_r[rows]
        weights["dual_ag"] = np.concatenate(duals).astype(np.float32)
        return cls(effects.frame, targets, weights, gamma)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus mean change plus the deviation at the targets' features."""
        asked = self.frame.ask(conditions)
        pick, distinct, complete = self.targets.ask(asked)
        delta = self.frame.mean_of(asked.context_q) + self.weights["offset_kg"][asked.context_q]
        vectors = self.targets.values[distinct].astype(np.float64)
        anchors = self.targets.values[self.weights["anchor_a"]].astype(np.float64)
        context_a = self.weights["context_a"]
        for context in np.unique(asked.context_q):
            here = np.flatnonzero(asked.context_q == context)
            use, n_sources = np.flatnonzero(context_a == context), 1
            if not len(use):  # no perturbation here: the mean over the other contexts
                use, n_sources = np.arange(len(anchors)), max(len(np.unique(context_a)), 1)
            kernel = np.exp(-self.gamma * squared_distances(vectors, anchors[use]))
            delta[here] += pick[here] @ (kernel @ self.weights["dual_ag"][use]) / n_sources
        complete &= len(anchors) > 0
        _, n_missing = asked.parts(whole=True)
        unseen = np.where(complete, "prior", "refused")
        return asked.answer(delta, asked.status(complete & (n_missing == 0), unseen))

    def state(self) -> State:
        """Return names, means, features and dual weights."""
        arrays, values = self.frame.state()
        feature_arrays, feature_values = self.targets.state()
        return arrays | feature_arrays | self.weights, values | feature_values | {
            "gamma": self.gamma
        }

    @classmethod
    def restore(cls, config: KernelRidgeConfig, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, values = state
        weights = {n: arrays[n] for n in ("anchor_a", "context_a", "dual_ag", "offset_kg")}
        targets = TargetFeatures.restore(state)
        return cls(Frame.restore(state), targets, weights, values["gamma"])


def solve(kernel_nn: np.ndarray, y_ng: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the dual weights at a penalty in units of the mean eigenvalue."""
    mean = y_ng.mean(0)
    penalized = centred(kernel_nn, np.arange(len(kernel_nn)))
    penalized[np.diag_indices_from(penalized)] += ridge * max(
        np.trace(penalized) / len(penalized), 1e-12
    )
    return mean, np.linalg.solve(penalized, y_ng - mean)


def choose(
    squares_k: list[np.ndarray],
    scores_k: list[np.ndarray],
    gammas: list[float],
    ridges: tuple[float, ...],
) -> tuple[float, float]:
    """Return the gamma and ridge with the smallest leave-one-out error over all contexts."""
    errors = np.zeros((len(gammas), len(ridges)))
    for i, gamma in enumerate(gammas):
        for squares, scores in zip(squares_k, scores_k, strict=True):
            kernel = centred(np.exp(-gamma * squares), np.arange(len(squares)))
            errors[i] += RidgePath(kernel, scores).errors(ridges)
    best = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return gammas[int(best[0])], ridges[int(best[1])]


card = ModelCard(
    name="kernel_ridge",
    summary="context mean plus a Gaussian kernel ridge from gene features to the deviation",
    source=(
        "kernel ridge regression, width and penalty by exact leave-one-out. Without features: "
        "loadings of the target's own readout"
    ),
    config=KernelRidgeConfig,
    model=KernelRidge,
    baseline=True,
    needs=frozenset({"features"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
