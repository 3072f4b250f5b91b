"""A token for each gene: what language models and networks know of it, through one encoder."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.nn.graph import GraphEncoder, Relation, linear, relations_of

Missing = Literal["refuse", "learn"]
"""what to do with a gene that has no features: name it and stop, or learn its vector"""


class GeneTokens(nn.Module):
    """LayerNorm(SiLU(Linear([features; graph; own vector]))) of each gene.

    Features are L2-normalised. The graph part is the learned encoder's over all networks. A gene
    has a vector of its own where no features are given at all, or where `missing` is `learn` and
    it has none.

    Args:
        genes: the genes of the training screen.
        width: length of the tokens.
        rng: initialises the weights.
        features: vectors of genes, those of the screen and any others.
        graphs: networks.
        graph_width: length of the graph part.
        missing: what to do with genes of the screen that have no features.

    Raises:
        SchemaError: genes have no features, and `missing` is `refuse`.
    """

    features: Tensor
    is_learned: Tensor

    def __init__(
        self,
        genes: Vocabulary,
        width: int,
        rng: np.random.Generator,
        *,
        features: Features | None = None,
        graphs: Mapping[str, Graph] | Sequence[Graph] | None = None,
        graph_width: int = 64,
        missing: Missing = "refuse",
    ) -> None:
        super().__init__()
        others = [n for n in (features.names if features else ()) if n not in genes]
        names = Vocabulary([*genes, *others], "gene")
        nets = relations_of(graphs, names) if graphs else []
        token_dim = features.width if features else 0
        self._assemble(names, width, rng, token_dim, nets, graph_width)
        place = features.names.find(names) if features else np.full(len(names), -1)
        absent = [n for n, i in zip(names, place, strict=True) if i < 0]
        if features is not None and absent and missing == "refuse":
            message = (
                f"{len(absent):,} of {len(genes):,} genes have no vector in "
                f"{features.name or 'the features'}: {', '.join(absent[:8])}"
                f"{', ...' if len(absent) > 8 else ''}; map their names, leave them out, or set "
                "missing to 'learn'"
            )
            raise SchemaError(message)
        self.is_learned.copy_(torch.from_numpy(place < 0))
        if features is not None:
            rows = torch.from_numpy(features.values[place[place >= 0]])
            self.features[torch.from_numpy(place >= 0)] = functional.normalize(rows, dim=1)

    def _assemble(
        self,
        names: Vocabulary,
        width: int,
        rng: np.random.Generator,
        token_dim: int,
        relations: list[Relation],
        graph_width: int,
    ) -> None:
        generator = torch_generator(rng)
        self.names, self.width = names, width
        self.register_buffer("features", torch.zeros(len(names), token_dim))
        self.register_buffer("is_learned", torch.zeros(len(names), dtype=torch.bool))
        self.own = nn.Parameter(torch.randn(len(names), width, generator=generator))
        self.graph = (
            GraphEncoder(relations, graph_width, rng, n_layers=2) if relations else None
        )  # fmt: skip
        n_in = token_dim + (graph_width if relations else 0)
        self.project = linear(n_in, width, generator) if n_in else None
        self.norm = nn.LayerNorm(width)

    def forward(self, which: Tensor | None = None) -> Tensor:
        """Return the tokens of some genes, by positions in `names`; all by default, [g, d]."""
        few = which is not None and 2 * len(which) < len(self.names)
        early, late = (which, None) if few else (None, which)
        learned = self._rows(self.is_learned, early)[:, None]
        token = self._rows(self.own, early) * learned
        if self.project is not None:
            token = token + self._known(early)
        return self._rows(self.norm(functional.silu(token)), late)

    def _known(self, which: Tensor | None) -> Tensor:
        """Return what features and networks say, projected, [g, d]."""
        assert self.project is not None
        token_dim = self.features.shape[1]
        of_features, of_graph = self.project.weight.split_with_sizes(
            [token_dim, self.project.in_features - token_dim], 1
        )
        known = self.project.bias
        if token_dim:
            # unit vectors of many numbers are tiny; this is their usual size
            features = self._rows(self.features, which)
            known = known + functional.linear(features, of_features * token_dim**0.5)
        if self.graph is not None:
            known = known + functional.linear(self._rows(self.graph(), which), of_graph)
        return known

    @staticmethod
    def _rows(table: Tensor, which: Tensor | None) -> Tensor:
        return table if which is None else table[which]

    @torch.no_grad()
    def embedding(self, names: Sequence[str] | None = None) -> Features:
        """Return the tokens of genes by name.

        Raises:
            UnknownNameError: a gene is not known.
        """
        asked = self.names if names is None else Vocabulary(names, "gene")
        place = torch.from_numpy(self.names.encode(asked))
        return Features(asked, self(place).float().cpu().numpy(), "state gene tokens")

    def plain(self) -> dict[str, Any]:
        """Return what `restore` needs besides the tensors, as JSON values."""
        relations: Any = () if self.graph is None else self.graph.relations
        graph_width = 0 if self.graph is None else self.graph.out.out_features
        return {"names": list(self.names), "width": self.width, "graph_width": graph_width,
                "token_dim": self.features.shape[1],
                "relations": [len(r.value) for r in relations]}  # fmt: skip

    @classmethod
    def restore(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild without features and networks at hand; then load its state_dict."""
        tokens = cls.__new__(cls)
        nn.Module.__init__(tokens)
        names = Vocabulary(plain["names"], "gene")
        relations = [Relation(len(names), n) for n in plain["relations"]]
        rng = np.random.default_rng(0)
        tokens._assemble(
            names, plain["width"], rng, plain["token_dim"], relations, plain["graph_width"]
        )
        return tokens
