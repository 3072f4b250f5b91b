"""The bilinear ridge: what a gene does is read off how its own readout varies."""

from typing import Self

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import ModelCard, State
from perturbkit.models.closed_form import leading_directions
from perturbkit.models.deltas import Effects, Frame


class BilinearRidgeConfig(Config):
    """The two numbers of the formula."""

    components: int = Field(default=10, ge=1)
    """principal components of the readouts, K"""
    ridge: float = Field(default=0.1, gt=0)
    """lambda"""


def bilinear(Y: np.ndarray, G: np.ndarray, P: np.ndarray, ridge: float) -> np.ndarray:
    """Return K = (G'G + λI)⁻¹ G' Y P (P'P + λI)⁻¹ for Ŷ = G K P' + row means.

    Args:
        Y: change against control minus its row means, [readouts, conditions].
        G: vectors of the readouts, [readouts, a].
        P: vectors of the conditions, [conditions, b].
        ridge: λ.

    Source:
        Ahlmann-Eltze, Huber & Anders 2025, doi:10.1038/s41592-025-02772-6, equations 2 and 3.
    """
    left = np.linalg.solve(G.T @ G + ridge * np.eye(G.shape[1]), G.T @ Y @ P)
    return np.linalg.solve(P.T @ P + ridge * np.eye(P.shape[1]), left.T).T


class BilinearRidge:
    """Change = G K P' + b: readouts by G, perturbations by P, joined by a small matrix.

    G holds the scores of the readouts on the leading principal components of the training
    profiles of the context, P the rows of G of the perturbed genes, summed over the targets of a
    combination and zero for the control. Given features take the place of P. An unseen gene whose
    readout is measured is `prior`; a target without a row in P is refused.
    """

    def __init__(
        self,
        frame: Frame,
        names: Vocabulary,
        tables: dict[str, np.ndarray],
    ) -> None:
        self.frame = frame
        self.names = names
        self.tables = tables

    @classmethod
    def fit(
        cls,
        config: BilinearRidgeConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Solve the formula in each context that has perturbations."""
        effects = Effects.of(train)
        frame = effects.frame
        names = frame.readouts if features is None else features.names
        contexts = np.flatnonzero(frame.trained_k)
        width = config.components if features is None else features.width
        k, g = len(frame.contexts), len(frame.readouts)
        tables = {
            "vector_ktw": np.zeros((k if features is None else 1, len(names), width)),
            "effect_kgw": np.zeros((k, g, width)),
            "offset_kg": np.full((k, g), np.nan),
        }
        if features is not None:
            tables["vector_ktw"][0] = features.values
        for context in contexts:
            rows = np.flatnonzero(effects.context_r == context)
            change = np.where(effects.is_measured[rows], effects.delta_rg[rows], 0.0)
            readout = readout_scores(change, frame.origin_kg[context], config.components, rng)
            if features is None:
                tables["vector_ktw"][context] = readout
            vectors = tables["vector_ktw"][context if features is None else 0]
            known, P = perturbation_vectors(effects, rows, names, vectors)
            Y = np.vstack([change[known], np.zeros((1, g))]).T  # the control's column
            offset = Y.mean(1)
            K = bilinear(Y - offset[:, None], readout, np.vstack([P, np.zeros((1, width))]),
                         config.ridge)  # fmt: skip
            tables["effect_kgw"][context] = readout @ K
            tables["offset_kg"][context] = offset if known.any() else np.nan
        return cls(frame, names, tables)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus the formula's change."""
        asked = self.frame.ask(conditions)
        row = np.repeat(np.arange(len(asked)), [len(t) for t in asked.targets_q])
        place = self.names.find(t for targets in asked.targets_q for t in targets)
        complete = np.bincount(row[place < 0], minlength=len(asked)) == 0
        row, place = row[place >= 0], place[place >= 0]
        shape = (len(asked), len(self.names))
        pick = sparse.csr_matrix((np.ones(len(row)), (row, place)), shape)
        delta = np.full((len(asked), len(self.frame.readouts)), np.nan)
        vectors = self.tables["vector_ktw"]
        for context in np.unique(asked.context_q[asked.context_q >= 0]):
            here = np.flatnonzero(asked.context_q == context)
            P = pick[here] @ vectors[context if len(vectors) > 1 else 0]
            change = P @ self.tables["effect_kgw"][context].T + self.tables["offset_kg"][context]
            unmeasured = np.isnan(self.frame.mean_kg[context])
            delta[here] = np.where(unmeasured, np.nan, change)
            complete[here] &= not np.isnan(self.tables["offset_kg"][context]).all()
        complete &= asked.context_q >= 0
        _, n_missing = asked.parts(whole=True)
        unseen = np.where(complete, "prior", "refused")
        return asked.answer(delta, asked.status(complete & (n_missing == 0), unseen))

    def state(self) -> State:
        """Return names, control profiles, and G K, P and b of each context."""
        arrays, values = self.frame.state()
        return arrays | self.tables, values | {"vector_names": list(self.names)}

    @classmethod
    def restore(cls, config: BilinearRidgeConfig, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, values = state
        tables = {n: arrays[n] for n in ("vector_ktw", "effect_kgw", "offset_kg")}
        return cls(Frame.restore(state), Vocabulary(values["vector_names"], "target"), tables)


def readout_scores(
    change_cg: np.ndarray, origin_g: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Return principal component scores of the readouts over profiles and control, [g, n].

    Readouts are the observations, profiles the variables, each centred over readouts.
    """
    origin = np.nan_to_num(origin_g.astype(np.float64))
    profiles = np.vstack([change_cg + origin, origin[None]])
    profiles -= profiles.mean(1, keepdims=True)
    loadings = leading_directions(profiles.T, n, rng).astype(np.float64)
    scores = np.zeros((profiles.shape[1], n))
    scores[:, : len(loadings)] = profiles.T @ loadings.T
    return scores


def perturbation_vectors(
    effects: Effects, rows: np.ndarray, names: Vocabulary, vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have vectors for all their targets, and the sum over their targets."""
    targets = [effects.targets_p[p] for p in effects.perturbation_r[rows]]
    places = [names.find(t) for t in targets]
    known = np.array([bool((p >= 0).all()) for p in places], bool)
    sums = [vectors[p].sum(0) for p, k in zip(places, known, strict=True) if k]
    return known, np.array(sums).reshape(len(sums), vectors.shape[1])


card = ModelCard(
    name="bilinear_ridge",
    summary="bilinear ridge between principal components of readouts and of perturbed genes",
    source=(
        "Ahlmann-Eltze, Huber & Anders 2025, doi:10.1038/s41592-025-02772-6 (K = 10, "
        "lambda = 0.1), fitted in each context; a combination has the sum of its targets' vectors"
    ),
    config=BilinearRidgeConfig,
    model=BilinearRidge,
    baseline=True,
    needs=frozenset({"features"}),
    predicts=frozenset({"perturbations", "combinations"}),
)
