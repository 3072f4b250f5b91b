"""Pairs of genes as a pool: what networks say of a pair, and a process over genes and pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.design.knowledge import Knowledge, standard, standard_columns
from perturbkit.design.surrogate.card import Fit, observed
from perturbkit.design.surrogate.graph_kernels import LEAST, weigh

_BLOCK = 8192


def members_of(conditions: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the genes of pairs "A+B", sorted, and the two genes of each pair, int64 [c, 2].

    Raises:
        SchemaError: a condition is no pair of two different genes.
    """
    split = [c.split("+") for c in conditions]
    wrong = [c for c, s in zip(conditions, split, strict=True) if len(s) != 2 or s[0] == s[1]]
    if wrong:
        message = f"{wrong[0]!r} is no pair of two genes; write pairs as A+B"
        raise SchemaError(message)
    genes = sorted({g for s in split for g in s})
    place = {g: i for i, g in enumerate(genes)}
    return genes, np.array([[place[g] for g in s] for s in split])


@dataclass(frozen=True, eq=False)
class PairPool:
    """Pairs, and what is known of their genes."""

    member_c2: np.ndarray
    """int64 [c, 2], rows of `genes`"""
    genes: Knowledge

    def cosine_gg(self) -> np.ndarray:
        """The mean cosine of two genes over all embeddings, float32 [g, g], semidefinite."""
        return np.stack([u @ u.T for u in self.genes.units]).mean(0)

    def knowledge(self) -> Knowledge:
        """Return features of the pairs; the prior is how alike the two genes are.

        Features: the cosine in each embedding, whether each network joins the two, and sum and
        difference of the genes' priors.
        """
        a, b = self.member_c2.T
        alike = [np.einsum("cd,cd->c", u[a], u[b]) for u in self.genes.units]
        joined = [np.asarray(n[a, b]).ravel() for n in self.genes.networks.values()]
        p = self.genes.prior_c
        table = np.stack([*alike, *joined, p[a] + p[b], np.abs(p[a] - p[b])], 1)
        prior = standard(np.sum([standard(s) for s in alike], axis=0))
        return Knowledge(
            table.astype(np.float32), {}, prior, ("likeness of the two genes",),
            scores_cs=standard_columns(table),
        )  # fmt: skip

    def surrogate(self, *, relatives: bool = True) -> Fit:
        """Return a Gaussian process over pairs, its variances by the evidence.

        A pair's outcome is the sum of an effect of each gene and, with `relatives`, of an effect
        that is alike for alike genes, of one of the pair that is alike for pairs of alike genes
        (as if both genes' embeddings were multiplied, an interaction model of low rank), and of
        the pair's features. Before outcomes the order is by chance.
        """
        n_genes = len(self.genes.prior_c)
        one = np.eye(n_genes, dtype=np.float32)
        near = self.cosine_gg()
        features = self.knowledge().scaled_cd.astype(np.float32)

        def kernels(at: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
            (a, b), (c, d) = self.member_c2[at].T, self.member_c2[rows].T

            def additive(k: np.ndarray) -> np.ndarray:
                of_pair = k[a] + k[b]
                return of_pair[:, c] + of_pair[:, d]

            if not relatives:
                return [additive(one)]
            left, right = near[a], near[b]
            both = left[:, c] * right[:, d] + left[:, d] * right[:, c]
            return [additive(one), additive(near), both, features[at] @ features[rows].T]

        def fit(known: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            del known
            rows, y = observed(outcome_c)
            if len(rows) < LEAST or y.std() == 0:
                return rng.random(len(outcome_c))[None]
            inner = [k.astype(np.float64) for k in kernels(rows, rows)]
            nothing = np.zeros_like(inner[0])
            fitted = weigh([*inner, nothing], standard(y))
            share, weight = fitted.variance_k[: len(inner)], fitted.weight
            mean = np.empty(len(outcome_c))
            for start in range(0, len(mean), _BLOCK):
                at = np.arange(start, min(start + _BLOCK, len(mean)))
                found = [v * (k @ weight) for v, k in zip(share, kernels(at, rows), strict=True)]
                mean[at] = weight.sum() + np.sum(found, axis=0)
            return y.mean() + y.std() * mean[None]

        return fit
