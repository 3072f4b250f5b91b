"""What an agent sees of each gene: numbers that mean the same in a pool of any size.

Nothing here names a gene or counts the pool. Signals (the static prior, the company of measured
neighbours and alikes, the posterior of a linear surrogate) are standard scores over the pool; each
comes a second time multiplied by how well it agreed with the outcomes so far, so that an agent can
learn how far to trust it.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from perturbkit.design.knowledge import Knowledge, neighbour_mean, standard
from perturbkit.design.surrogate.bayes_ridge import RATIOS, evidence
from perturbkit.design.surrogate.committee import alike_mean

if TYPE_CHECKING:
    from torch import Tensor

SIGNALS = ("prior", "near_1", "near_2", "alike", "ridge")
STATIC = ("degree_1", "degree_2")
DYNAMIC = ("ridge_sd", "seen_1", "seen_2", "measured", "outcome")
OVERALL = ("n_measured", "hit_rate", *(f"trust_{s}" for s in SIGNALS))
FEATURES = (*SIGNALS, *(f"trusted_{s}" for s in SIGNALS), *STATIC, *DYNAMIC, *OVERALL)
N_FEATURES = len(FEATURES)
USUAL_HIT_RATE = 0.05
IS_HIT = 0.75
"""A learning target from which a condition is a hit."""
TRUST_PRIOR = 10.0
"""Outcomes without agreement that are added to those seen when a signal's trust is judged."""


@dataclass(frozen=True, eq=False)
class PoolView:
    """A pool as agents see it; what does not change between rounds is computed once."""

    knowledge: Knowledge

    @cached_property
    def networks(self) -> list[sparse.csr_array]:
        """The first two networks."""
        return list(islice(self.knowledge.networks.values(), 2))

    @cached_property
    def degrees(self) -> list[np.ndarray]:
        """Log degree in each of the two networks, standard scores; zeros where there is none."""
        n = len(self.knowledge.prior_c)
        found = [standard(np.log1p(np.asarray(a.sum(1)).ravel())) for a in self.networks]
        return found + [np.zeros(n)] * (2 - len(found))

    @cached_property
    def adjacency(self) -> "Tensor":
        """D^-1/2 (A + I) D^-1/2 of both networks together, sparse float32 [c, c]."""
        from perturbkit.models.hyperbolic import normalise_sparse

        n = len(self.knowledge.prior_c)
        both = sparse.csr_array((n, n), dtype=np.float32)
        for network in self.networks:
            both = both.maximum(network)
        return normalise_sparse(sparse.csr_array(both))

    def features(self, target_c: np.ndarray) -> np.ndarray:
        """Return what an agent sees, float32 [c, N_FEATURES].

        Args:
            target_c: learning target of what was measured (`policy.learning_target`), else NaN.
        """
        n = len(target_c)
        rows = np.flatnonzero(np.isfinite(target_c))
        known = np.isfinite(target_c)
        signals: dict[str, np.ndarray] = dict.fromkeys(SIGNALS, np.zeros(n))
        signals["prior"] = self.knowledge.prior_c
        trust: dict[str, float] = dict.fromkeys(SIGNALS, 0.0)
        ridge_sd, seen = np.zeros(n), [np.zeros(n), np.zeros(n)]
        if len(rows):
            y = target_c[rows]
            for i, network in enumerate(self.networks):
                signals[f"near_{i + 1}"] = standard(neighbour_mean(network, target_c, known))
                seen[i] = np.log1p(network @ known.astype(np.float64))
            signals["alike"] = standard(alike_mean(self.knowledge.sources, target_c))
            mean, ridge_sd, left_out = ridge(self.knowledge, rows, y)
            signals["ridge"] = standard(mean)
            judged = {s: v[rows] for s, v in signals.items()} | {"ridge": left_out}
            trust = {s: agreement(judged[s], y) for s in SIGNALS}
        own = np.where(known, np.nan_to_num(target_c) - USUAL_HIT_RATE, 0.0)
        n_hits = float((np.nan_to_num(target_c) >= IS_HIT).sum())
        rate = np.log((n_hits + 1) / (USUAL_HIT_RATE * len(rows) + 1))
        overall = [np.log1p(len(rows)) / 7, rate, *trust.values()]
        columns = [
            *signals.values(), *(trust[s] * v for s, v in signals.items()), *self.degrees,
            ridge_sd, *seen, known, own, *(np.full(n, v) for v in overall),
        ]  # fmt: skip
        return np.clip(np.stack(columns, 1), -8, 8).astype(np.float32)


def agreement(signal: np.ndarray, outcome: np.ndarray) -> float:
    """Return the correlation of a signal and outcomes, shrunken to 0 where there are few."""
    if signal.std() < 1e-9 or outcome.std() < 1e-9:
        return 0.0
    r = float(np.corrcoef(signal, outcome)[0, 1])
    return r * len(outcome) / (len(outcome) + TRUST_PRIOR)


def ridge(
    knowledge: Knowledge, rows: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the posterior of a Bayesian linear regression over the pool.

    Args:
        knowledge: features of the pool.
        rows: what was measured.
        y: its outcomes.

    Returns:
        Posterior mean [c] in units of y's spread, log posterior variance as standard score [c],
        and the mean at `rows` had each of them been left out.
    """
    n = len(knowledge.prior_c)
    if len(rows) < 3 or y.std() < 1e-9:
        return np.zeros(n), np.zeros(n), np.zeros(len(rows))
    x = knowledge.scaled_cd
    z = standard(y)
    seen = x[rows]
    gram = seen @ seen.T
    ratio = max(RATIOS, key=lambda r: evidence(gram, z, r))
    # the dual form: a Gaussian process with a linear kernel, k x k instead of d x d
    inverse = np.linalg.inv(gram / ratio + np.eye(len(y)))
    weight = inverse @ z
    cross = (x @ seen.T) / ratio
    mean = cross @ weight
    variance = np.einsum("cd,cd->c", x, x) / ratio - np.einsum("ck,ck->c", cross @ inverse, cross)
    left_out = z - weight / np.diag(inverse)
    return mean, standard(np.log(np.maximum(variance, 1e-9))), left_out
