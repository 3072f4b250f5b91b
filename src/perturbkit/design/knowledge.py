"""What is known of a pool before anything is measured: features, networks and a static prior."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.sets import membership
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.membership import MembershipConfig, membership_features
from perturbkit.genes.spectral import SpectralConfig, spectral_features

_SHRINK = 5.0
EARLIER = 2.0
"""Weight of an earlier screen in the prior, against everything else together."""
EXPRESSED = 0.7
"""Weight of being expressed in the prior, against everything else together."""
N_PLACES = 64
"""Principal components of the features that stand for where a condition lies."""
CUT = 0.005
"""Share of either end of another screen's outcomes that counts as no more extreme."""
MAX_SET = 1500
"""Larger gene sets say too little to count."""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Known of each condition of a pool, rows in the pool's order."""

    features_cd: np.ndarray
    """float32 [c, d]; a gene no source knows has zeros"""
    networks: Mapping[str, sparse.csr_array]
    """float32 [c, c] symmetric, 0 or 1, one for each undirected source"""
    prior_c: np.ndarray
    """float64 [c], standard score: what to expect of each condition before the first round"""
    says: tuple[str, ...] = field(default=())
    """what the prior is made of, for reasons and reports"""
    sources: tuple[np.ndarray, ...] = field(default=())
    """the embedding of each network and collection of sets apart, [c, d_i]"""
    scores_cs: np.ndarray | None = None
    """float64 [c, s] standard scores, one column for each static score that may foretell hits"""
    essential_c: np.ndarray | None = None
    """bool [c], on a published list of essential genes; None without a list"""
    others_cs: np.ndarray | None = None
    """float64 [c, s] standard scores of outcomes in screens of other readouts, 0 where unknown"""

    @cached_property
    def scaled_cd(self) -> np.ndarray:
        """The features as standard scores, columns without spread left out, float64 [c, d]."""
        return standard_columns(self.features_cd)

    @cached_property
    def places_cd(self) -> np.ndarray:
        """The features' leading principal components, float32 [c, at most 64]: quick distances."""
        x = self.scaled_cd
        if x.shape[1] <= N_PLACES:
            return x.astype(np.float32)
        _, axes = np.linalg.eigh(x.T @ x)
        return (x @ axes[:, -N_PLACES:]).astype(np.float32)

    @cached_property
    def units(self) -> tuple[np.ndarray, ...]:
        """The embeddings of the sources at unit length, float32; zeros stay zeros."""
        norms = [np.sqrt(np.einsum("cd,cd->c", s, s))[:, None] for s in self.sources]
        return tuple(
            (s / np.where(n > 0, n, 1)).astype(np.float32)
            for s, n in zip(self.sources, norms, strict=True)
        )

    @cached_property
    def walks(self) -> tuple[sparse.csr_array, ...]:
        """The networks scaled to D^-1/2 A D^-1/2, their eigenvalues within [-1, 1]."""
        scaled = []
        for a in self.networks.values():
            root = sparse.diags_array(1 / np.sqrt(np.maximum(np.asarray(a.sum(1)).ravel(), 1)))
            scaled.append(sparse.csr_array(root @ a @ root))
        return tuple(scaled)

    @property
    def adjacency(self) -> sparse.csr_array | None:
        """The first network, or None."""
        return next(iter(self.networks.values()), None)

    def select(self, rows: np.ndarray) -> "Knowledge":
        """Return the knowledge of some rows; the prior is standardised again."""
        networks = {n: sparse.csr_array(a[rows][:, rows]) for n, a in self.networks.items()}
        scores, essential, others = self.scores_cs, self.essential_c, self.others_cs
        return replace(
            self, features_cd=self.features_cd[rows], networks=networks,
            prior_c=standard(self.prior_c[rows]), sources=tuple(s[rows] for s in self.sources),
            scores_cs=None if scores is None else standard_columns(scores[rows]),
            essential_c=None if essential is None else essential[rows],
            others_cs=None if others is None else others[rows],
        )  # fmt: skip

    def with_earlier(self, name: str, value_c: np.ndarray) -> "Knowledge":
        """Add the outcome of an earlier screen as features and to the prior.

        Args:
            name: what it is called in reasons.
            value_c: float64 [c], larger where a hit is more likely; NaN where not measured.
        """
        known = _measured(value_c, f"the earlier screen {name!r}")
        filled = np.where(known, value_c, np.nanmedian(value_c))
        columns = [standard(filled), known.astype(float)]
        columns += [standard(neighbour_mean(a, filled, known)) for a in self.networks.values()]
        return self._with_scores(name, np.stack(columns, 1), EARLIER)

    def with_other(self, name: str, value_c: np.ndarray) -> "Knowledge":
        """Add the outcome of a screen of another readout: the outcomes to come decide its weight.

        Unlike that of `with_earlier` it does not enter the prior: what moves one readout need not
        move another, and may.

        Args:
            name: what it is called in errors.
            value_c: float64 [c], larger where a hit is more likely; NaN where not measured.
        """
        known = _measured(value_c, f"the screen {name!r}")
        low, high = np.quantile(value_c[known], [CUT, 1 - CUT])
        score = np.zeros(len(value_c))
        score[known] = standard(np.clip(value_c[known], low, high))
        before = self.others_cs if self.others_cs is not None else np.zeros((len(score), 0))
        return replace(self, others_cs=np.concatenate([before, score[:, None]], 1))

    def with_expressed(self, name: str, genes: Iterable[str], pool: Sequence[str]) -> "Knowledge":
        """Add a list of genes that are expressed in the cells as a feature and to the prior.

        A gene that the cells do not express has nothing to lose; where the list is of cells of
        another kind it still tells which genes are widely expressed.

        Args:
            name: what it is called in reasons.
            genes: the list.
            pool: the gene of each row.
        """
        listed = frozenset(genes)
        flag = np.array([g in listed for g in pool], float)
        if flag.min() == flag.max():
            message = f"the list {name!r} has none or all of the pool's genes; check the names"
            raise SchemaError(message)
        return self._with_scores(name, flag[:, None], EXPRESSED)

    def _with_scores(self, name: str, columns_cs: np.ndarray, weight: float) -> "Knowledge":
        """Add columns as features; the first is a score and enters the prior with this weight."""
        score = standard(columns_cs[:, 0])
        known = self.scores_cs if self.scores_cs is not None else np.zeros((len(score), 0))
        return replace(
            self, features_cd=np.concatenate([self.features_cd, columns_cs], 1, dtype=np.float32),
            prior_c=standard(self.prior_c + weight * score), says=(*self.says, name),
            scores_cs=np.concatenate([known, score[:, None]], 1),
        )  # fmt: skip


def _measured(value_c: np.ndarray, what: str) -> np.ndarray:
    """Return which genes of the pool were measured, bool [c]; some must be."""
    known = np.isfinite(value_c)
    if not known.any():
        message = f"{what} has none of the pool's genes; check the names"
        raise SchemaError(message)
    return known


def standard(x: np.ndarray) -> np.ndarray:
    """Return the standard score, 0 where all values are equal."""
    scale = x.std()
    return (x - x.mean()) / scale if scale > 0 else np.zeros_like(x, np.float64)


def standard_columns(x_cd: np.ndarray) -> np.ndarray:
    """Return the columns that have spread as standard scores, float64."""
    x = x_cd.astype(np.float64)
    sd = x.std(0)
    return (x[:, sd > 1e-9] - x[:, sd > 1e-9].mean(0)) / sd[sd > 1e-9]


def neighbour_mean(
    adjacency: sparse.csr_array, value_c: np.ndarray, known_c: np.ndarray, weight: float = 2.0
) -> np.ndarray:
    """Return the mean value of each node's known neighbours, shrunken to the overall mean.

    Args:
        adjacency: [c, c].
        value_c: values, read only where known.
        known_c: which are known.
        weight: how many neighbours of average value to add.
    """
    values = np.where(known_c, value_c, 0.0)
    mean = float(value_c[known_c].mean()) if known_c.any() else 0.0
    n = adjacency @ known_c.astype(np.float64)
    return (adjacency @ values + weight * mean) / (n + weight)


def knowledge_of(
    genes: Sequence[str],
    networks: Mapping[str, Graph],
    sets: Mapping[str, Graph],
    rng: np.random.Generator,
    *,
    essentials: Iterable[str] = (),
    width: int = 128,
) -> Knowledge:
    """Gather what networks, gene sets and a list of essential genes say of a pool of genes.

    Embeddings are computed over the whole networks, not only the pool, so they do not depend on
    which genes are in it. The prior is the standard score of log degree in the first network,
    plus that of how essential a gene's sets are when a list of essentials is given: genes of the
    same pathways as essential ones move many readouts even where they are not essential.

    Args:
        genes: names of the pool, one a row, without repeats.
        networks: undirected (or symmetrised) networks of genes, the most trusted first.
        sets: networks from set to gene (`as_sets`), such as Reactome and GO.
        rng: starts the iterations of the embeddings.
        essentials: published common essential genes; only their company counts, never the screen.
        width: of each embedding.

    Raises:
        SchemaError: there is no network and no set.
    """
    if not networks and not sets:
        message = "neither a network nor gene sets are given; design needs one to go on"
        raise SchemaError(message)
    pool = Vocabulary(genes, "gene")
    essential = frozenset(essentials)
    blocks, matrices, extra, degrees, company = [], {}, [], [], []
    for name, graph in networks.items():
        config = SpectralConfig(width=width, weighted=False, unit_length=False)
        features = spectral_features(graph, config, rng)
        scaled = features.values / max(float(np.sqrt((features.values**2).sum(1).mean())), 1e-12)
        blocks.append(_rows(features.names, scaled, pool))
        inside = graph.within(pool).adjacency
        matrices[name] = _binary(inside)
        degree = np.log1p(_rows(graph.nodes, graph.degree[:, None].astype(float), pool)[:, 0])
        degrees.append(degree)
        if essential:
            share, count = _network_company(graph, essential)
            extra += [_rows(graph.nodes, v[:, None], pool)[:, 0] for v in (share, count)]
    for graph in sets.values():
        features = membership_features(graph, MembershipConfig(width=width), rng)
        blocks.append(_rows(features.names, features.values, pool))
        matrix, names, _ = membership(graph)
        size = np.asarray(matrix.sum(0)).ravel()
        matrix = sparse.csr_array(matrix[:, (size >= 5) & (size <= MAX_SET)])
        n_sets = np.asarray(matrix.sum(1)).ravel()
        degrees.append(np.log1p(_rows(names, n_sets[:, None], pool)[:, 0]))
        if essential:
            score = set_company(matrix, np.isin(np.array(names.names), list(essential)))
            company.append(_rows(names, score[:, None], pool)[:, 0])
    prior = standard(degrees[0])
    says = ["connectivity"]
    if company:
        prior = prior + standard(company[0])
        says.append("pathways shared with essential genes")
    table = np.stack([*degrees, *extra, *company], 1)
    features_cd = np.concatenate([*blocks, table], 1).astype(np.float32)
    listed = np.isin(np.array(pool.names), list(essential)) if essential else None
    return Knowledge(features_cd, matrices, standard(prior), tuple(says), tuple(blocks),
                     standard_columns(table), listed)  # fmt: skip


def set_company(matrix: sparse.csr_array, essential_g: np.ndarray) -> np.ndarray:
    """Return how essential the sets of each gene are, leaving the gene itself out.

    Each set's share of essential genes, shrunken by 5, is averaged over a gene's sets, shrunken
    by 3.

    Args:
        matrix: membership [g, sets], 0 or 1.
        essential_g: bool [g].
    """
    size = np.asarray(matrix.sum(0)).ravel()
    hits = matrix.T @ essential_g.astype(np.float64)
    whole = hits / (size + _SHRINK)
    own = 1.0 / (size + _SHRINK)
    total = matrix @ whole - essential_g * (matrix @ own)
    return total / (np.asarray(matrix.sum(1)).ravel() + 3.0)


def _network_company(graph: Graph, essential: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
    adjacency = _binary(graph.adjacency)
    flag = np.isin(np.array(graph.nodes.names), list(essential)).astype(np.float64)
    count = adjacency @ flag
    return count / (np.asarray(adjacency.sum(1)).ravel() + 10.0), np.log1p(count)


def _binary(adjacency: sparse.csr_array) -> sparse.csr_array:
    both = sparse.csr_array(adjacency.maximum(adjacency.T))
    both.data = np.ones_like(both.data)
    return both


def _rows(names: Vocabulary, values_gd: np.ndarray, pool: Vocabulary) -> np.ndarray:
    """Return the rows of the pool's genes, zeros where a gene is not among `names`."""
    place = names.find(pool)
    out = np.zeros((len(pool), values_gd.shape[1]), np.float64)
    out[place >= 0] = values_gd[place[place >= 0]]
    return out
