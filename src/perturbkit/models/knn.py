"""Nearest neighbours among targets: an unseen gene does what the most similar genes did."""

from typing import Self

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Effects
from perturbkit.models.target_features import TargetFeatures


class KnnConfig(Config):
    """How many neighbours."""

    neighbours: tuple[int, ...] = Field(default=(1, 3, 5, 10, 20, 40), min_length=1)
    """candidates; leave-one-out chooses"""


def cosine(x_tw: np.ndarray, y_nw: np.ndarray, centre_w: np.ndarray) -> np.ndarray:
    """Cosine similarity of centred vectors; 0 for vectors at the centre."""
    x, y = x_tw - centre_w, y_nw - centre_w
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    y /= np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
    return x @ y.T


def neighbour_weights(similarity_tn: np.ndarray, n_neighbours: int) -> np.ndarray:
    """Weight the nearest neighbours by their similarity; rows sum to 1, or to 0 without any.

    Neighbours of similarity 0 or less, and missing ones (-inf), do not count.
    """
    n_neighbours = min(n_neighbours, similarity_tn.shape[1])
    order = np.argsort(-similarity_tn, axis=1, kind="stable")[:, :n_neighbours]
    nearest = np.maximum(np.take_along_axis(similarity_tn, order, 1), 0)
    weights = np.zeros_like(similarity_tn)
    np.put_along_axis(weights, order, nearest, 1)
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)


def choose_neighbours(
    similarities: list[np.ndarray], grams: list[np.ndarray], candidates: tuple[int, ...]
) -> tuple[int, float]:
    """Return the number of neighbours and the shrinkage factor that predict best what is left out.

    Args:
        similarities: of each context, [n, n], -inf on the diagonal.
        grams: Gram matrix of the deviations of each context, [n, n].
        candidates: numbers of neighbours.
    """
    best, gain = (candidates[0], 0.0), 0.0
    for n in candidates:
        weights = [neighbour_weights(s, n) for s in similarities]
        along = [w @ g for w, g in zip(weights, grams, strict=True)]
        agreement = sum(float(np.trace(a)) for a in along)
        power = sum(float((a * w).sum()) for a, w in zip(along, weights, strict=True))
        factor = float(np.clip(agreement / power, 0, 1)) if power > 0 else 0.0
        explained = 2 * factor * agreement - factor**2 * power
        if explained > gain:
            best, gain = (n, factor), explained
    return best


class Knn:
    """Context mean plus the shrunken mean deviation of the most similar targets.

    Similarity is the cosine of centred features. An unseen target is `neighbour`, and the column
    `neighbours` says who; targets without features are refused; combinations get the sum over
    their targets. Training combinations are not used.
    """

    def __init__(
        self, effects: Effects, targets: TargetFeatures, n_neighbours: int, factor: float
    ) -> None:
        self.effects = effects
        self.targets = targets
        self.n_neighbours = n_neighbours
        self.factor = factor

    @classmethod
    def fit(
        cls,
        config: KnnConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Collect deviations and features, choose the number of neighbours by leave-one-out."""
        effects = Effects.of(train)
        targets = TargetFeatures.of(effects, features, rng)
        similarities, grams = [], []
        for context in range(len(effects.frame.contexts)):
            rows = targets.rows(effects, context)
            if len(rows) > 1:
                vectors = targets.of_rows(effects, rows)
                similarity = cosine(vectors, vectors, vectors.mean(0))
                np.fill_diagonal(similarity, -np.inf)
                deviation = effects.deviation_rg[rows]
                similarities.append(similarity)
                grams.append((deviation @ deviation.T).astype(np.float64))
        return cls(effects, targets, *choose_neighbours(similarities, grams, config.neighbours))

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus mean change plus the neighbours' deviation."""
        effects, targets = self.effects, self.targets
        asked = effects.frame.ask(conditions)
        pick, distinct, complete = targets.ask(asked)
        delta = effects.frame.mean_of(asked.context_q)
        who = [""] * len(asked)
        for context in np.unique(asked.context_q):
            here = np.flatnonzero(asked.context_q == context)
            rows, weights = self._weights(int(context), targets.values[distinct])
            delta[here] += self.factor * (pick[here] @ (weights @ effects.deviation_rg[rows]))
            for q in here:
                who[q] = self._names(pick[q].indices, rows, weights)
            complete[here] &= len(rows) > 0
        unseen = np.where(complete, "neighbour", "refused")
        _, n_missing = asked.parts(whole=True)
        status = asked.status(complete & (n_missing == 0), unseen)
        return asked.answer(delta, status, {"neighbours": who})

    def _weights(self, context: int, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training rows to learn from in a context, and the weight of each for each vector.

        A context without perturbations learns from all the others alike.
        """
        effects = self.effects
        sources = [context] if context >= 0 else []
        if not sources or not len(self.targets.rows(effects, context)):
            sources = [int(k) for k in np.flatnonzero(effects.frame.trained_k)]
        rows, weights = [], []
        for source in sources:
            own = self.targets.rows(effects, source)
            if len(own):
                known = self.targets.of_rows(effects, own)
                similarity = cosine(vectors.astype(np.float64), known, known.mean(0))
                rows.append(own)
                weights.append(neighbour_weights(similarity, self.n_neighbours))
        if not rows:
            return np.zeros(0, np.int64), np.zeros((len(vectors), 0))
        return np.concatenate(rows), np.concatenate(weights, 1) / len(rows)

    def _names(self, distinct: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> str:
        """Name up to five neighbours with their weights."""
        total = weights[distinct].sum(0)
        order = [i for i in np.argsort(-total, kind="stable")[:5] if total[i] > 0]
        codes = self.effects.perturbation_r[rows[order]]
        names = [self.effects.frame.perturbations[int(c)] for c in codes]
        return ", ".join(f"{n} ({total[i]:.2f})" for n, i in zip(names, order, strict=True))

    def state(self) -> State:
        """Return changes, features and what leave-one-out chose."""
        arrays, values = self.effects.state()
        feature_arrays, feature_values = self.targets.state()
        chosen = {"n_neighbours": self.n_neighbours, "factor": self.factor}
        return arrays | feature_arrays, values | feature_values | chosen

    @classmethod
    def restore(cls, config: KnnConfig, state: State) -> Self:
        """Rebuild from `state`."""
        values = state[1]
        return cls(
            Effects.restore(state),
            TargetFeatures.restore(state),
            values["n_neighbours"],
            values["factor"],
        )


card = ModelCard(
    name="knn",
    summary="context mean plus the mean deviation of the targets most similar in feature space",
    source=(
        "nearest neighbours with cosine weights; the number of neighbours and a shrinkage factor "
        "by leave-one-out. Without features: loadings of the target's own readout"
    ),
    config=KnnConfig,
    model=Knn,
    baseline=True,
    needs=frozenset({"features"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
