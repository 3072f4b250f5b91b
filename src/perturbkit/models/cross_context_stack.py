"""Several ways to carry a perturbation over from other contexts, stacked by cross-validation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse
from scipy.optimize import nnls

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.closed_form import (
    RidgePath,
    centred,
    leading_directions,
    leading_sums,
)
from perturbkit.models.cross_context_ridge import gram_of_others, shared_scores
from perturbkit.models.deltas import Effects
from perturbkit.models.kernel_ridge import squared_distances

_FEWEST = 10
"""With fewer perturbations measured here and elsewhere there is nothing to stack on"""


class CrossContextStackConfig(Config):
    """The members, and the folds that weigh them."""

    ridge_directions: tuple[int, ...] = Field(default=(20, 70), min_length=1)
    """a linear kernel ridge for each: directions of readouts in which its prediction lives"""
    directions: int = Field(default=30, ge=1)
    """directions of the smooth ridge and of the agreement"""
    ridges: tuple[float, ...] = Field(default=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0), min_length=1)
    """penalties to choose from by leaving one out, in units of the mean eigenvalue"""
    folds: int = Field(default=5, ge=2)
    """of the cross-validation that weighs the members"""


@dataclass(frozen=True, eq=False)
class Transfer:
    """The task of one context: `n` rows of deviations known there, then those of the others.

    Their inner products are all that is needed: whatever is predicted is a sum of these rows.
    """

    gram_rr: np.ndarray
    """Gram matrix of the rows, float64"""
    code_r: np.ndarray
    """code of the perturbation of each row"""
    context_r: np.ndarray
    """code of the context of each row"""
    n: int
    """rows of this context; their perturbations were measured elsewhere as well"""
    kernel_pp: np.ndarray
    """kernel between perturbations over the other contexts"""
    rows: np.ndarray
    """where the rows are among all training changes"""
    mean_pr: sparse.csr_matrix
    """averages the rows of the other contexts by perturbation, [perturbations, rows]"""

    @cached_property
    def own(self) -> np.ndarray:
        """Codes of the perturbations of this context's rows."""
        return self.code_r[: self.n]

    def without(self, gone: np.ndarray) -> tuple["Transfer", np.ndarray]:
        """Return the task with some of this context's rows left out, and its mean with them.

        Returns:
            The smaller task, and the inner products of its rows with the rows left out, minus the
            new mean as well, [fewer, gone].
        """
        kept = np.setdiff1d(np.arange(len(self.gram_rr)), gone)
        n = self.n - len(gone)
        gram, cross = self.gram_rr[np.ix_(kept, kept)], self.gram_rr[np.ix_(kept, gone)]
        cross = cross - gram[:, :n].mean(1)[:, None]
        cross[:n] -= cross[:n].mean(0)
        gram[:n] -= gram[:n].mean(0)
        gram[:, :n] -= gram[:, :n].mean(1)[:, None]
        rest = Transfer(
            gram_rr=gram,
            code_r=self.code_r[kept],
            context_r=self.context_r[kept],
            n=n,
            kernel_pp=self.kernel_pp,
            rows=self.rows[kept],
            mean_pr=self.mean_pr[:, kept],
        )
        return rest, cross


def ridge_scores(
    kernel_pp: np.ndarray,
    own: np.ndarray,
    score_nd: np.ndarray,
    widths: tuple[int, ...],
    ridges: tuple[float, ...],
) -> list[np.ndarray]:
    """Predict the first scores of every perturbation from a kernel between them, for each width.

    Each width has the penalty of its own smallest leave-one-out error; arrays [p, width].
    """
    kernel = centred(kernel_pp, own)
    path = RidgePath(kernel[np.ix_(own, own)], score_nd)
    missed = np.stack([np.square(path.missed_nr(r)).sum(0) for r in ridges])
    best = [ridges[int(np.argmin(missed[:, :w].sum(1)))] for w in widths]
    fits = {ridge: kernel[:, own] @ path.dual_nr(ridge) + path.mean_r for ridge in set(best)}
    return [fits[ridge][:, :w] for ridge, w in zip(best, widths, strict=True)]


def smooth_kernel(task: Transfer, score_rd: np.ndarray) -> np.ndarray:
    """Gaussian kernel between the scores of perturbations in the other contexts, side by side.

    Contexts not measured count as 0, each perturbation is divided by the square root of its
    number of contexts, and the width is the median squared distance.
    """
    n_p = np.maximum(np.diff(task.mean_pr.indptr), 1)
    blocks = []
    for context in np.unique(task.context_r[task.n :]):
        rows = np.flatnonzero(task.context_r == context)
        block = np.zeros((len(n_p), score_rd.shape[1]))
        block[task.code_r[rows]] = score_rd[rows]
        blocks.append(block / np.sqrt(n_p)[:, None])
    features = np.hstack(blocks)
    squares = squared_distances(features, features)
    typical = np.median(squares[np.ix_(task.own, task.own)])
    return np.exp(-squares / max(float(typical), 1e-30))


def agreement(task: Transfer) -> np.ndarray:
    """Predict the inner product of every perturbation here with every row, [p, rows].

    Linear in how the perturbation's mean profile elsewhere agrees with the row, with the mean
    profile elsewhere of the row's perturbation, and with that perturbation context by context.
    Coefficients by least squares over the rows of this context, for each context of the other
    rows, and apart for the rows of the perturbation itself.
    """
    with_row = task.mean_pr @ task.gram_rr
    with_mean = (task.mean_pr @ with_row.T).T
    truth = task.gram_rr[: task.n]
    predicted = np.zeros_like(with_row)
    n_perturbations = len(with_mean)
    for context in np.unique(task.context_r):
        here = context == task.context_r[0]
        rows = np.flatnonzero(task.context_r == context)
        codes = task.code_r[rows]
        alike = np.zeros((n_perturbations, len(rows)))
        if here:
            alike = task.kernel_pp[:, codes]
        else:
            alike[codes] = task.gram_rr[np.ix_(rows, rows)]
        features = np.stack([with_mean[:, codes], with_row[:, rows], alike], -1)
        itself = task.own[:, None] == codes
        fitted = _fit_products(features, task.own, truth[:, rows], ~itself)
        if not here and itself.sum() >= _FEWEST:
            selves = _fit_products(features[..., 1:2], task.own, truth[:, rows], itself)
            fitted[codes, np.arange(len(rows))] = selves[codes, np.arange(len(rows))]
        predicted[:, rows] = fitted
    return predicted


def _fit_products(
    features: np.ndarray, own: np.ndarray, truth: np.ndarray, use: np.ndarray
) -> np.ndarray:
    """Least squares with intercept over the pairs to use, applied to all pairs."""
    size = np.sqrt(np.square(features[own][use]).mean(0)) + 1e-30
    design = np.column_stack([features[own][use] / size, np.ones(int(use.sum()))])
    weights = np.linalg.lstsq(design, truth[use], rcond=None)[0]
    return features @ (weights[:-1] / size) + weights[-1]


def members(
    config: CrossContextStackConfig, task: Transfer, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the scores of every perturbation in this context, member by member.

    Returns:
        Directions as sums of rows [d, rows], and scores [members, perturbations, d]; a member that
        lives in fewer directions has zeros in the rest.
    """
    widest = max(*config.ridge_directions, config.directions)
    direction_dr = leading_sums(task.gram_rr, widest, rng)
    score_rd = task.gram_rr @ direction_dr.T
    here, d = score_rd[: task.n], config.directions
    parts = ridge_scores(task.kernel_pp, task.own, here, config.ridge_directions, config.ridges)
    smooth = smooth_kernel(task, score_rd[:, :d])
    parts += ridge_scores(smooth, task.own, here[:, :d], (d,), config.ridges)
    power = np.maximum(np.square(score_rd[:, :d]).sum(0), 1e-30)
    parts.append(agreement(task) @ (score_rd[:, :d] / power))
    scores = np.zeros((len(parts), len(task.kernel_pp), len(direction_dr)))
    for m, part in enumerate(parts):
        scores[m, :, : part.shape[1]] = part
    return direction_dr, scores


def stack_weights(
    config: CrossContextStackConfig, task: Transfer, rng: np.random.Generator
) -> np.ndarray:
    """Weigh the members, and the mean deviation elsewhere last, by what they predict held out.

    Non-negative least squares over all held-out rows of all folds and all readouts.
    """
    n_members = len(config.ridge_directions) + 3
    gram, along = np.zeros((n_members, n_members)), np.zeros(n_members)
    for gone in np.array_split(rng.permutation(task.n), min(config.folds, task.n)):
        rest, cross = task.without(gone)
        direction_dr, scores = members(config, rest, rng)
        codes = task.own[gone]
        found, own = scores[:, codes], rest.mean_pr[codes]
        own_with_rows = own @ rest.gram_rr
        own_scores = own_with_rows @ direction_dr.T
        gram[:-1, :-1] += np.einsum("aqd,bqd->ab", found, found)  # directions are orthonormal
        gram[-1, :-1] += np.einsum("aqd,qd->a", found, own_scores)
        gram[-1, -1] += (own @ own_with_rows.T).diagonal().sum()
        along[:-1] += np.einsum("aqd,dq->a", found, direction_dr @ cross)
        along[-1] += (own @ cross).diagonal().sum()
    gram[:-1, -1] = gram[-1, :-1]
    gram[np.diag_indices(n_members)] += 1e-9 * max(np.trace(gram), 1e-30)
    root = np.linalg.cholesky(gram)
    return nnls(root.T, np.linalg.solve(root, along))[0]


class CrossContextStack:
    """Context mean plus a weighted sum of predictions from the other contexts.

    Members: linear kernel ridges on the profiles elsewhere in few and in many shared directions of
    readouts; a Gaussian kernel ridge on scores along these directions; agreement, which predicts
    from inner products across contexts how much a perturbation will resemble each measured
    profile; and the perturbation's own mean deviation elsewhere. The weights of each context are
    those that predict held-out perturbations best. Everything else as in `cross_context_ridge`.
    """

    def __init__(
        self,
        effects: Effects,
        direction_dg: np.ndarray,
        score_kpd: np.ndarray,
        weight_km: np.ndarray,
    ) -> None:
        self.effects = effects
        self.direction_dg = direction_dg
        self.score_kpd = score_kpd
        self.weight_km = weight_km

    @classmethod
    def fit(
        cls,
        config: CrossContextStackConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Weigh the members of each context by cross-validation, then fit them on all of it.

        The rng draws the folds, and the sketch that finds directions in more than 600 rows.
        """
        effects = Effects.of(train)
        deviation = effects.deviation_rg
        gram = (deviation @ deviation.T).astype(np.float64)
        widest = max(*config.ridge_directions, config.directions)
        directions = leading_directions(deviation, widest, rng)
        score_rd = (deviation @ directions.T).astype(np.float64)
        scores = shared_scores(effects, score_rd)
        scores[..., config.directions :] = 0
        weights = np.zeros((len(scores), len(config.ridge_directions) + 3))
        for context in np.flatnonzero(effects.frame.trained_k):
            task, n_p = transfer(effects, gram, int(context))
            if task.n < _FEWEST:
                continue  # the shrunken mean stays
            weights[context] = stack_weights(config, task, rng)
            found, parts = members(config, task, rng)
            stacked = np.tensordot(weights[context, :-1], parts, 1)
            stacked = stacked @ (found @ score_rd[task.rows])
            scores[context][n_p > 0] = stacked[n_p > 0]
        return cls(effects, directions, scores.astype(np.float32), weights)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus mean change plus the stacked deviation."""
        frame = self.effects.frame
        asked = frame.ask(conditions)
        parts, n_missing = asked.parts(whole=True)
        delta = frame.mean_of(asked.context_q).astype(np.float64)
        for context in np.unique(asked.context_q):
            here = np.flatnonzero(asked.context_q == context)
            codes = np.unique(parts[here].indices)
            deviation = self.score_kpd[context][codes] @ self.direction_dg
            share = self.weight_km[context, -1]
            if share > 0:
                elsewhere = averaging(self.effects, int(context))[codes]
                deviation = deviation + share * (elsewhere @ self.effects.deviation_rg)
            delta[here] += parts[here][:, codes] @ deviation
        return asked.answer(delta, asked.status(n_missing == 0, "prior"))

    def state(self) -> State:
        """Return training changes, directions, scores and weights."""
        arrays, values = self.effects.state()
        own = ("direction_dg", "score_kpd", "weight_km")
        return arrays | {n: getattr(self, n) for n in own}, values

    @classmethod
    def restore(cls, config: CrossContextStackConfig, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, _ = state
        own = (arrays[n] for n in ("direction_dg", "score_kpd", "weight_km"))
        return cls(Effects.restore(state), *own)


def averaging(effects: Effects, context: int) -> sparse.csr_matrix:
    """Return what averages the rows of the other contexts by perturbation, [p, rows]."""
    others = np.flatnonzero(effects.context_r != context)
    codes = effects.perturbation_r[others]
    n_p = np.bincount(codes, minlength=len(effects.frame.perturbations))
    shape = (len(n_p), len(effects.context_r))
    return sparse.csr_matrix((1 / n_p[codes], (codes, others)), shape)


def transfer(effects: Effects, gram_rr: np.ndarray, context: int) -> tuple[Transfer, np.ndarray]:
    """Return the task of one context, and how many other contexts each perturbation has."""
    kernel, n_p = gram_of_others(gram_rr, effects, context)
    row_p = effects.row_kp[context]
    both = np.flatnonzero((row_p >= 0) & (n_p > 0))
    rows = np.concatenate([row_p[both], np.flatnonzero(effects.context_r != context)])
    task = Transfer(
        gram_rr=gram_rr[np.ix_(rows, rows)],
        code_r=effects.perturbation_r[rows],
        context_r=effects.context_r[rows],
        n=len(both),
        kernel_pp=kernel,
        rows=rows,
        mean_pr=averaging(effects, context)[:, rows],
    )
    return task, n_p


card = ModelCard(
    name="cross_context_stack",
    summary="ridges, agreement and own deviation across contexts, weighed by cross-validation",
    source=(
        "stacked regression (Breiman 1996, doi:10.1007/BF00117832) of cross-context predictors; "
        "see docs/benchmarks/op3.md"
    ),
    config=CrossContextStackConfig,
    model=CrossContextStack,
    needs=frozenset({"contexts"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
