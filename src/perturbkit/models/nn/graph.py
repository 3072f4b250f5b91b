"""A graph encoder over several relations: one vector for each gene, deterministic."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.core.graph import Graph
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary


def normalised_adjacency(graph: Graph, nodes: Vocabulary) -> sparse.csr_array:
    """Return D^-1/2 (A + I) D^-1/2 over these nodes, float32, symmetric.

    Directions are forgotten; weights are divided by their largest. A node without neighbours
    keeps only itself, with weight 1.

    Source:
        Kipf & Welling 2017, arXiv:1609.02907, equation 2.
    """
    inside = graph.within(nodes)
    top = float(inside.weight.max(initial=0))
    a = inside.adjacency / np.float32(top if top > 0 else 1)
    if inside.directed:
        a = a.maximum(a.T)
    a = sparse.csr_array(a + sparse.eye_array(len(nodes), dtype=np.float32))
    scale = sparse.diags_array(1 / np.sqrt(np.asarray(a.sum(1)).ravel()))
    normal = sparse.csr_array(scale @ a @ scale, dtype=np.float32)
    normal.sort_indices()
    return normal


class _SymmetricProduct(torch.autograd.Function):
    """`a @ x` for a symmetric sparse `a`, whose backward pass is the same product."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        # sparse products have no bfloat16
        with torch.autocast(x.device.type, enabled=False):
            return (a @ x.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (a,) = ctx.saved_tensors
        (d,) = gradients
        with torch.autocast(d.device.type, enabled=False):
            return None, (a @ d.float().contiguous()).to(d.dtype)


class Relation(nn.Module):
    """One network as a fixed symmetric matrix in compressed rows; multiplies vectors of nodes."""

    start: Tensor
    column: Tensor
    value: Tensor

    def __init__(self, n_nodes: int, n_entries: int) -> None:
        super().__init__()
        self.n_nodes = n_nodes
        self.register_buffer("start", torch.zeros(n_nodes + 1, dtype=torch.int64))
        self.register_buffer("column", torch.zeros(n_entries, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(n_entries))

    @classmethod
    def of(cls, matrix: sparse.csr_array) -> "Relation":
        """Take a symmetric matrix over."""
        relation = cls(matrix.shape[0], matrix.nnz)
        relation.start.copy_(torch.from_numpy(matrix.indptr.astype(np.int64)))
        relation.column.copy_(torch.from_numpy(matrix.indices.astype(np.int64)))
        relation.value.copy_(torch.from_numpy(matrix.data.astype(np.float32)))
        return relation

    def forward(self, x_gd: Tensor) -> Tensor:
        """Return the weighted sum over each node's neighbours, [nodes, d]."""
        with warnings.catch_warnings():
            # torch says once per process that compressed rows are in beta
            warnings.simplefilter("ignore", UserWarning)
            matrix = torch.sparse_csr_tensor(
                self.start, self.column, self.value, size=(self.n_nodes, self.n_nodes),
                check_invariants=False,
            )  # fmt: skip
            return _SymmetricProduct.apply(matrix, x_gd)


class GraphEncoder(nn.Module):
    """One vector for each node from its own vector and its neighbours' in every relation.

    Each layer is `x + dropout(gelu(x W_0 + sum_r A_r x W_r))`, with a LayerNorm before. Relations
    are weighted by their own matrices, so an empty one adds only the node's own view. Isolated
    nodes see themselves by the self-loop. Starts from a learned vector for each node, from given
    features, or from the sum of both.

    Args:
        relations: symmetric matrices over the same nodes, from `normalised_adjacency`.
        width: length of the vectors.
        rng: initialises the weights.
        n_layers: how far information travels.
        feature_width: width of given features; 0 for none.
        dropout: share of hidden values set to zero while training.
        identity: whether each node has a learned vector of its own.
    """

    def __init__(
        self,
        relations: Sequence[Relation],
        width: int,
        rng: np.random.Generator,
        *,
        n_layers: int = 2,
        feature_width: int = 0,
        dropout: float = 0.0,
        identity: bool = True,
    ) -> None:
        super().__init__()
        generator = torch_generator(rng)
        self.relations = nn.ModuleList(relations)
        n_nodes = relations[0].n_nodes
        start = torch.randn(n_nodes, width, generator=generator) * width**-0.5
        self.identity = nn.Parameter(start) if identity else None
        self.project = linear(feature_width, width, generator) if feature_width else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(n_layers))
        self.own = nn.ModuleList(linear(width, width, generator) for _ in range(n_layers))
        self.mix = nn.ModuleList(
            nn.ModuleList(linear(width, width, generator, bias=False) for _ in relations)
            for _ in range(n_layers)
        )
        self.out = linear(width, width, generator)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_gd: Tensor | None = None) -> Tensor:
        """Return the vectors of all nodes, [nodes, width].

        Args:
            features_gd: given features of the nodes, zeros where missing.
        """
        x = self.identity
        if self.project is not None and features_gd is not None:
            projected = self.project(features_gd)
            x = projected if x is None else x + projected
        if x is None:
            message = "this encoder has neither learned nor given vectors to start from"
            raise ValueError(message)
        mixes: Any = self.mix
        for norm, own, mix in zip(self.norms, self.own, mixes, strict=True):
            h = norm(x)
            # one product per relation in a fixed order: sums are the same each time
            update = own(h)
            for relation, weight in zip(self.relations, mix, strict=True):
                update = update + relation(weight(h))
            x = x + self.dropout(functional.gelu(update))
        return self.out(x)


def linear(n_in: int, n_out: int, generator: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """Return a linear layer with weights drawn uniformly from ±1/sqrt(n_in) by `generator`."""
    layer = nn.Linear(n_in, n_out, bias=bias, device="meta").to_empty(device="cpu")
    bound = max(n_in, 1) ** -0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def edge_codes(graph: Graph, nodes: Vocabulary) -> np.ndarray:
    """Return the pairs of a network over these nodes, `[e, 2]`, the lower position first."""
    inside = graph.within(nodes)
    a, b = inside.source.astype(np.int64), inside.target.astype(np.int64)
    return np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1), axis=0)


def shuffled_partners(
    pairs_e2: np.ndarray, known_codes: np.ndarray, n_nodes: int, rng: np.random.Generator
) -> np.ndarray:
    """Return pairs that are no edges with the degrees of these: their partners are exchanged.

    Each node occurs as often as in `pairs_e2`, so degree alone cannot tell the two apart. Pairs
    that stay an edge after 20 exchanges are left out.

    Args:
        pairs_e2: edges, [e, 2].
        known_codes: sorted codes `low * n_nodes + high` of all edges, held-out ones included.
        n_nodes: number of nodes.
        rng: the source of randomness.
    """
    if not len(pairs_e2):
        return pairs_e2
    flip = rng.random(len(pairs_e2)) < 0.5
    a = np.where(flip, pairs_e2[:, 1], pairs_e2[:, 0])
    b = rng.permutation(np.where(flip, pairs_e2[:, 0], pairs_e2[:, 1]))

    def bad(rows: np.ndarray) -> np.ndarray:
        code = np.minimum(a[rows], b[rows]) * n_nodes + np.maximum(a[rows], b[rows])
        at = np.minimum(np.searchsorted(known_codes, code), len(known_codes) - 1)
        return (known_codes[at] == code) | (a[rows] == b[rows])

    wrong = np.flatnonzero(bad(np.arange(len(a))))
    for _ in range(20):
        if not len(wrong):
            break
        mates = rng.choice(len(a), len(wrong), replace=len(wrong) > len(a))
        for i, j in zip(wrong, mates, strict=True):
            b[i], b[j] = b[j], b[i]
        touched = np.unique(np.concatenate([wrong, mates]))
        wrong = touched[bad(touched)]
    keep = np.ones(len(a), bool)
    keep[bad(np.arange(len(a)))] = False
    return np.stack([a[keep], b[keep]], axis=1)


def graph_consistency_loss(z_gd: Tensor, pairs_e2: Tensor, others_e2: Tensor) -> Tensor:
    """Neighbours in the network are near in the embedding; 0 when cosine tells them apart surely.

    Half the mean of `softplus(-8 cos)` over neighbours plus half that of `softplus(8 cos)` over
    other pairs: the logistic loss of telling them apart. 0 where there are no pairs.

    Args:
        z_gd: embedding of all nodes.
        pairs_e2: positions of neighbours.
        others_e2: positions of pairs that are none, such as `shuffled_partners` gives.
    """
    z = functional.normalize(z_gd, dim=1, eps=1e-8)
    near = (z[pairs_e2[:, 0]] * z[pairs_e2[:, 1]]).sum(1)
    far = (z[others_e2[:, 0]] * z[others_e2[:, 1]]).sum(1)
    if not len(near) or not len(far):
        return z_gd.sum() * 0
    return (functional.softplus(-8 * near).mean() + functional.softplus(8 * far).mean()) / 2


def relations_of(
    graphs: Mapping[str, Graph] | Sequence[Graph], nodes: Vocabulary
) -> list[Relation]:
    """Return the relations of several networks over the same nodes."""
    found = graphs.values() if isinstance(graphs, Mapping) else graphs
    return [Relation.of(normalised_adjacency(g, nodes)) for g in found]
