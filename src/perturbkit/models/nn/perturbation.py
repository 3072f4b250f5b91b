"""The perturbation encoder: what was done to the cells as one vector, also for unseen targets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.core.condition import KINDS, Condition
from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.responses import STATUSES
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.nn.graph import GraphEncoder, Relation, linear, normalised_adjacency

_MODIFIERS = 4 + len(KINDS)
"""Dose and time, each with whether it is stated, and the kind."""


class EncoderConfig(Config):
    """Settings of the perturbation encoder."""

    identity_dropout: float = Field(default=0.3, ge=0, lt=1)
    """share of targets whose own vector is hidden in a training step, so that features and
    networks learn to stand for it; has no effect without either"""
    graph_layers: int = Field(default=2, ge=1)
    """how far information travels along the networks"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """share of hidden values set to zero while training"""
    aggregation: Literal["sum", "mean", "max"] = "sum"
    """how the vectors of a combination's targets are joined"""


class Encoded(NamedTuple):
    """Conditions as numbers; the targets of condition i are `codes[offsets[i]:offsets[i + 1]]`."""

    codes: Tensor
    """int64 [targets of all conditions], positions in the encoder's names"""
    offsets: Tensor
    """int64 [c + 1]"""
    dose_um: Tensor
    """float32 [c], NaN where not stated"""
    time_h: Tensor
    """float32 [c], NaN where not stated"""
    kind: Tensor
    """int64 [c], positions in KINDS"""
    status: tuple[str, ...]
    """how each condition can be answered: seen, prior, neighbour or refused"""

    def rows(self, index: Tensor) -> "Encoded":
        """Return some conditions, by positions."""
        sizes = (self.offsets[1:] - self.offsets[:-1])[index]
        offsets = torch.cat([self.offsets.new_zeros(1), sizes.cumsum(0)])
        shift = torch.repeat_interleave(self.offsets[index] - offsets[:-1], sizes)
        codes = self.codes[torch.arange(len(shift), device=shift.device) + shift]
        status = tuple(self.status[i] for i in index.tolist())
        return Encoded(
            codes, offsets, self.dose_um[index], self.time_h[index], self.kind[index], status
        )

    def to(self, device: torch.device | str) -> "Encoded":
        """Return the same on another device."""
        codes, offsets, dose, time, kind = (t.to(device) for t in self[:5])
        return Encoded(codes, offsets, dose, time, kind, self.status)


class PerturbationEncoder(nn.Module):
    """Identity + features + networks of each target, changed by dose, time and kind, and summed.

    A target of training has a learned vector. Features of a gene and a graph encoder over
    networks add to it, and stand alone for targets never trained on: these have the status
    `prior` with features, `neighbour` with a path of edges to a trained target, and are `refused`
    with neither. The control, which has no target, is exactly zero.

    Args:
        targets: the targets of training.
        width: length of the vectors.
        rng: initialises the weights.
        features: vectors of genes or compounds; those missing are masked, never invented.
        graphs: networks whose edges join the targets and any other gene.
        config: the settings.
    """

    features: Tensor
    has_features: Tensor
    reached: Tensor

    def __init__(
        self,
        targets: Vocabulary,
        width: int,
        rng: np.random.Generator,
        *,
        features: Features | None = None,
        graphs: Mapping[str, Graph] | Sequence[Graph] | None = None,
        config: EncoderConfig | None = None,
    ) -> None:
        super().__init__()
        nets = list(graphs.values()) if isinstance(graphs, Mapping) else list(graphs or ())
        names = _joined(targets, features, nets)
        matrices = [normalised_adjacency(g, names) for g in nets]
        self._assemble(
            names, len(targets), width, rng, features.width if features else 0,
            [Relation.of(m) for m in matrices], config or EncoderConfig(),
        )  # fmt: skip
        if features is not None:
            place = features.names.find(names)
            here = torch.from_numpy(place >= 0)
            self.has_features.copy_(here)
            self.features[here] = torch.from_numpy(features.values[place[place >= 0]])
            centre = self.features[here].mean(0)
            # the widths of sources differ by orders of magnitude: one scale, same directions
            spread = (self.features[here] - centre).pow(2).sum(1).mean().sqrt().clamp_min(1e-6)
            self.features[here] = (self.features[here] - centre) / spread
        if matrices:
            reach = _reach(matrices, len(targets), self.config.graph_layers)
            self.reached.copy_(torch.from_numpy(reach))

    def _assemble(
        self,
        names: Vocabulary,
        n_trained: int,
        width: int,
        rng: np.random.Generator,
        feature_width: int,
        relations: list[Relation],
        config: EncoderConfig,
    ) -> None:
        generator = torch_generator(rng)
        self.names, self.n_trained, self.width, self.config = names, n_trained, width, config
        start = torch.randn(n_trained, width, generator=generator) * width**-0.5
        self.identity = nn.Parameter(start)
        self.register_buffer("features", torch.zeros(len(names), feature_width))
        self.register_buffer("has_features", torch.zeros(len(names), dtype=torch.bool))
        self.register_buffer("reached", torch.zeros(len(names), dtype=torch.bool))
        self.from_features = (
            nn.Sequential(
                linear(feature_width, width, generator), nn.GELU(), nn.Dropout(config.dropout),
                linear(width, width, generator),
            ) if feature_width else None
        )  # fmt: skip
        self.from_graphs = (
            GraphEncoder(
                relations, width, rng, n_layers=config.graph_layers, feature_width=width,
                dropout=config.dropout, identity=False,
            ) if relations else None
        )  # fmt: skip
        last = linear(width, 2 * width, generator)
        # at the start dose, time and kind change nothing
        nn.init.zeros_(last.weight)
        self.modify = nn.Sequential(linear(_MODIFIERS, width, generator), nn.GELU(), last)

    def forward(
        self,
        codes: Tensor,
        offsets: Tensor,
        dose_um: Tensor | None = None,
        time_h: Tensor | None = None,
        kind: Tensor | None = None,
    ) -> Tensor:
        """Return one vector for each condition, [c, d].

        Args:
            codes: positions of all targets in `names`, int64, condition after condition.
            offsets: where each condition's targets begin, and the end, int64 [c + 1].
            dose_um: [c], NaN or None where not stated.
            time_h: [c], NaN or None where not stated.
            kind: positions in KINDS, [c]; None for unknown.
        """
        n = len(offsets) - 1
        if not len(codes):
            return self.identity.new_zeros(n, self.width)
        which, inverse = codes.unique(return_inverse=True)
        sums = functional.embedding_bag(
            inverse,
            self._vectors(which),
            offsets,
            mode=self.config.aggregation,
            include_last_offset=True,
        )
        stated = self._modifiers(n, dose_um, time_h, kind)
        scale, shift = self.modify(stated).chunk(2, dim=1)
        any_target = (offsets[1:] > offsets[:-1]).to(sums.dtype)[:, None]
        return sums * (1 + scale) + shift * any_target

    def _modifiers(
        self, n: int, dose_um: Tensor | None, time_h: Tensor | None, kind: Tensor | None
    ) -> Tensor:
        blank = self.identity.new_full((n,), float("nan"))
        parts = []
        for value, unit in ((dose_um, 1.0), (time_h, 24.0)):
            x = (blank if value is None else value.to(blank))[:, None] / unit
            is_stated = ~torch.isnan(x)
            log = torch.log10(torch.where(is_stated, x, 1.0).clamp_min(1e-6))
            parts += [is_stated.to(blank), log]
        index = torch.full((n,), KINDS.index("unknown"), device=blank.device)
        one_hot = functional.one_hot(index if kind is None else kind, len(KINDS)).to(blank)
        return torch.cat([*parts, one_hot], dim=1)

    def _vectors(self, which: Tensor) -> Tensor:
        """Return the vectors of some names; while training, some identities are hidden."""
        trained = which < self.n_trained
        shown = trained.to(self.identity)[:, None]
        if self.training and self.config.identity_dropout and self.can_generalise:
            kept = functional.dropout(torch.ones_like(shown), self.config.identity_dropout) > 0
            shown = shown * kept
        own = self.identity[which.clamp_max(self.n_trained - 1)] * shown if self.n_trained else 0
        total = own + self.identity.new_zeros(len(which), self.width)
        if self.from_features is not None:
            vectors = self.from_features(self.features[which])
            total = total + vectors * self.has_features[which].to(vectors)[:, None]
        if self.from_graphs is not None:
            total = total + self.from_graphs(self._graph_start(which, shown))[which]
        return total

    def _graph_start(self, which: Tensor, shown: Tensor) -> Tensor:
        """Return what the graph encoder starts from: identities not hidden, plus features."""
        visible = torch.zeros(len(self.names), 1, device=shown.device, dtype=shown.dtype)
        visible[: self.n_trained] = 1
        visible = visible.index_copy(0, which, shown)
        padded = functional.pad(self.identity, (0, 0, 0, len(self.names) - self.n_trained))
        start = padded * visible
        if self.from_features is not None:
            start = start + self.from_features(self.features) * self.has_features[:, None]
        return start

    @property
    def can_generalise(self) -> bool:
        """Whether anything besides the identity says what a target is."""
        return self.from_features is not None or self.from_graphs is not None

    def vectors(self) -> Tensor:
        """Return the vector of every name without dose, time and kind, [names, d]."""
        return self._vectors(torch.arange(len(self.names), device=self.identity.device))

    def status_of(self, target: str) -> str:
        """Say how a target can be answered: seen, prior, neighbour or refused."""
        i = self.names.index_of.get(target, -1)
        if 0 <= i < self.n_trained:
            return "seen"
        if i >= 0 and bool(self.has_features[i]):
            return "prior"
        return "neighbour" if i >= 0 and bool(self.reached[i]) else "refused"

    def encode(self, conditions: Iterable[Condition]) -> Encoded:
        """Turn conditions into what `forward` takes: `encoder(*encoder.encode(cs)[:5])`.

        A combination has the weakest status of its targets. Refused targets are left out of
        `codes`; set the rows of refused conditions to NaN afterwards.
        """
        conditions = list(conditions)
        status = {t: self.status_of(t) for t in {t for c in conditions for t in c.targets}}
        known = [[t for t in c.targets if status[t] != "refused"] for c in conditions]
        flat = self.names.find(t for targets in known for t in targets)
        offsets = np.cumsum([0, *(len(targets) for targets in known)])
        nan = float("nan")
        ranks = [max([1, *(STATUSES.index(status[t]) for t in c.targets)]) for c in conditions]
        device = self.identity.device
        return Encoded(
            torch.from_numpy(flat).to(device),
            torch.from_numpy(offsets.astype(np.int64)).to(device),
            torch.tensor([nan if c.dose_um is None else c.dose_um for c in conditions]).to(device),
            torch.tensor([nan if c.time_h is None else c.time_h for c in conditions]).to(device),
            torch.tensor([KINDS.index(c.kind) for c in conditions], dtype=torch.int64).to(device),
            tuple(STATUSES[r] for r in ranks),
        )

    def plain(self) -> dict[str, Any]:
        """Return what `restore` needs besides the tensors of `state_dict`, as JSON values."""
        relations: Any = () if self.from_graphs is None else self.from_graphs.relations
        return {
            "names": list(self.names), "n_trained": self.n_trained, "width": self.width,
            "feature_width": self.features.shape[1], "config": self.config.plain(),
            "relations": [len(r.value) for r in relations],
        }  # fmt: skip

    @classmethod
    def restore(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild the encoder without features and networks at hand; then load its state_dict."""
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        names = Vocabulary(plain["names"], "target")
        encoder._assemble(
            names, plain["n_trained"], plain["width"], np.random.default_rng(0),
            plain["feature_width"], [Relation(len(names), n) for n in plain["relations"]],
            EncoderConfig.parse(plain["config"]),
        )  # fmt: skip
        return encoder


def _joined(targets: Vocabulary, features: Features | None, nets: Sequence[Graph]) -> Vocabulary:
    """Return the targets, then every other name anything is known of."""
    others = dict.fromkeys(features.names if features else ())
    for net in nets:
        others |= dict.fromkeys(net.nodes)
    return Vocabulary([*targets, *(n for n in others if n not in targets)], "target")


def _reach(matrices: Sequence[sparse.csr_array], n_trained: int, n_layers: int) -> np.ndarray:
    """Return which names an identity of training reaches within so many steps."""
    reached = np.arange(matrices[0].shape[0]) < n_trained
    for _ in range(n_layers):
        reached = np.any([m @ reached.astype(np.float32) > 0 for m in matrices], axis=0)
    return reached
