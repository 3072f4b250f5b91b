"""The Large Perturbation Model: one network over (perturbation, readout, context) embeddings."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from perturbkit.core.condition import conditions_of
from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.base import Base, fit_base, restore_base
from perturbkit.models.block import Block
from perturbkit.models.card import ModelCard, State
from perturbkit.models.nn.grid import GridDecoder

_PREDICT_CELLS = 4_000_000
"""hidden activations (rows x readouts) computed at once when predicting"""


class LpmConfig(Config):
    """Hyper-parameters of the LPM; sizes known from data come by `build`."""

    embedding_dim: int = Field(default=64, ge=1)
    """width of the context, perturbation and readout embeddings"""
    hidden_dim: int = Field(default=256, ge=1)
    """width of the hidden layers"""
    n_layers: int = Field(default=2, ge=0, le=16)
    """number of hidden layers"""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """probability of dropping a hidden unit"""
    aggregation: Literal["mean", "sum", "max"] = "sum"
    """how the embeddings of a combination's targets are joined (published: mean)"""
    identity_dropout: float = Field(default=0.3, ge=0, lt=1)
    """probability of hiding a target's own symbol while training, where it has features, so
    that the features learn to stand for targets that were never seen"""
    base: Literal["none", "context_mean", "mean_delta", "cross_context_ridge"] = "context_mean"
    """the closed-form model whose error the network learns; `none` is the published model"""
    embedding_scale: float = Field(default=0.3, gt=0)
    """standard deviation of the embeddings at the start (published: 1)"""


class Lpm(nn.Module):
    """A multi-layer perceptron over embeddings of context, perturbation and readout.

    y(c, p, r) = base(c, p, r) + scale * MLP([E_C[c]; agg_k E_P[k]; E_R[r]]).

    Source:
        Miladinovic et al. 2025, doi:10.1038/s43588-025-00870-1, section "LPM". Deviations: the
        MLP runs on blocks (`GridDecoder`), the network may learn the residual of a closed-form
        base, and targets that were never seen are predicted from features or refused, where the
        published code answers with the control.
    """

    def __init__(self, config: LpmConfig, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.unit = about["unit"]
        self.targets = Vocabulary(about["targets"], "target")
        self.contexts = Vocabulary(about["contexts"], "context")
        self.readouts = Vocabulary(about["readouts"], "readout")
        self.described = Vocabulary(about["described"], "target")
        self.scale = float(about["scale"])
        self._base: Base | None = None
        width = config.embedding_dim
        self.context = nn.Embedding(len(self.contexts), width)
        self.target = nn.Embedding(len(self.targets) + 1, width)  # the last row: no symbol
        self.readout = nn.Embedding(len(self.readouts), width)
        self.register_buffer("features", torch.zeros(len(self.described) + 1, about["n_features"]))
        self.describe = nn.Linear(about["n_features"], width, bias=False)
        self.decoder = GridDecoder(
            2 * width, width, config.hidden_dim, config.n_layers, config.dropout
        )

    @property
    def base(self) -> Base:
        """The closed-form model under the network.

        Raises:
            SchemaError: the model was made by its constructor alone.
        """
        if self._base is None:
            message = "this model was not built on data; use Lpm.build or Lpm.restore"
            raise SchemaError(message)
        return self._base

    @classmethod
    def build(
        cls,
        config: LpmConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Make an untrained model with the vocabularies of `train` and a fitted base."""
        if bool(train.is_control.all()):
            message = "every training condition is a control; the LPM needs perturbed ones"
            raise SchemaError(message)
        base = fit_base(config.base, train, rng)
        conditions = conditions_of(train.conditions)
        targets = sorted({t for c in conditions for t in c.targets})
        about = {
            "unit": train.unit,
            "targets": targets,
            "contexts": sorted(set(train.contexts)),
            "readouts": list(train.readouts),
            "described": [] if features is None else list(features.names),
            "n_features": 0 if features is None else features.width,
            "scale": 1.0,
        }
        model = cls(config, about)
        model._base = base
        residual = base.crossfitted_residual(train, rng)
        model.scale = float(np.nanstd(residual[~train.is_control])) or 1.0
        model._initialize(features, torch_generator(rng))
        return model

    @torch.no_grad()
    def _initialize(self, features: Features | None, generator: torch.Generator) -> None:
        scale = self.config.embedding_scale
        for embedding in (self.context, self.target, self.readout):
            embedding.weight.normal_(0, scale, generator=generator)
        if features is not None:
            values = torch.from_numpy(np.array(features.values))
            typical = values.pow(2).sum(1).mean().sqrt().clamp(min=1e-12)
            self.features[:-1] = values / typical
            self.describe.weight.normal_(0, scale, generator=generator)
        self.decoder.initialize(generator)

    def encode(self, table: pl.DataFrame) -> dict[str, Tensor]:
        """Return the codes of conditions: `context` [c], `targets` and `described` [c, k].

        Absent places hold the last row of each table; `n_targets` [c] counts the present ones.
        """
        conditions = conditions_of(table)
        most = max([1, *(len(c.targets) for c in conditions)])
        codes = np.full((2, len(conditions), most), -1, np.int64)
        for i, condition in enumerate(conditions):
            n = len(condition.targets)
            codes[0, i, :n] = self.targets.find(condition.targets)
            codes[1, i, :n] = self.described.find(condition.targets)
        codes[0][codes[0] < 0] = len(self.targets)
        codes[1][codes[1] < 0] = len(self.described)
        return {
            "context": torch.from_numpy(self.contexts.find([c.context for c in conditions])),
            "targets": torch.from_numpy(codes[0]),
            "described": torch.from_numpy(codes[1]),
            "n_targets": torch.tensor([len(c.targets) for c in conditions]),
        }

    def forward(self, rows: dict[str, Tensor], columns: Tensor) -> Tensor:
        """Return the network's part, standardized, [r, q]."""
        row = torch.cat([self.context(rows["context"]), self._perturbation(rows)], -1)
        return self.decoder(row, self.readout(columns))

    def _perturbation(self, rows: dict[str, Tensor]) -> Tensor:
        """Join the embeddings of each condition's targets, [r, d]; the control is zero."""
        codes, described = rows["targets"], rows["described"]
        if self.training and self.config.identity_dropout and len(self.described):
            hidden = torch.rand(codes.shape, device=codes.device) < self.config.identity_dropout
            hidden &= described < len(self.described)
            codes = torch.where(hidden, len(self.targets), codes)
        each = self.target(codes) + self.describe(self.features[described])
        present = torch.arange(codes.shape[1], device=codes.device) < rows["n_targets"][:, None]
        if self.config.aggregation == "max":
            least = torch.finfo(each.dtype).min
            top = each.masked_fill(~present[..., None], least).amax(1)
            return torch.where(present.any(1, keepdim=True), top, torch.zeros_like(top))
        total = (each * present[..., None]).sum(1)
        if self.config.aggregation == "mean":
            total = total / rows["n_targets"].clamp(min=1)[:, None]
        return total

    def loss(self, batch: Block) -> Tensor:
        """Mean squared error of the standardized residual over the measured values."""
        error = self(batch.rows, batch.columns).float() - batch.values
        measured = ~torch.isnan(error)
        return torch.where(measured, error, 0.0).pow(2).sum() / measured.sum().clamp(min=1)

    def training_values(
        self, measured: Responses, rng: np.random.Generator, *, held_out: bool
    ) -> np.ndarray:
        """Return what the network is to say of `measured`, float32 [c, g], NaN not measured.

        Conditions that the base was fitted on (`held_out=False`) get its cross-fitted error, so
        that the network sees the errors it will meet.
        """
        if held_out:
            residual = measured.mean_cg - self.base.predict(measured.conditions)[0]
        else:
            residual = self.base.crossfitted_residual(measured, rng)
        residual = residual / self.scale
        if self.config.base != "none":
            residual[measured.is_control] = np.nan  # the control is the base's, exactly
        return residual.astype(np.float32)

    @torch.no_grad()
    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict any conditions; what the model knows nothing of is refused, as NaN."""
        status = self.statuses(conditions)
        values, base_status = self.base.predict(conditions)
        answered = np.flatnonzero((status != "refused") & (base_status != "refused"))
        is_control = np.array([c.is_control for c in conditions_of(conditions)], bool)
        if self.config.base != "none":
            answered = answered[~is_control[answered]]
        refused = (status == "refused") | (base_status == "refused")
        status[refused] = "refused"
        if answered.size:
            values[answered] += self.scale * self.residual(conditions[answered])
        values[refused] = np.nan
        table = conditions.with_columns(status=pl.Series(status.astype(str)))
        return Responses(values[None], table, self.readouts, self.unit)

    @torch.no_grad()
    def residual(self, table: pl.DataFrame) -> np.ndarray:
        """Return the network's part, standardized, of conditions it can answer, [c, g]."""
        was_training = self.training
        self.eval()
        device = self.target.weight.device
        rows = {k: v.to(device) for k, v in self.encode(table).items()}
        columns = torch.arange(len(self.readouts), device=device)
        size = max(1, _PREDICT_CELLS // (len(self.readouts) * max(1, self.config.hidden_dim // 16)))
        parts = [
            self({k: v[i : i + size] for k, v in rows.items()}, columns).float().cpu()
            for i in range(0, table.height, size)
        ]
        self.train(was_training)
        return torch.cat(parts).numpy()

    def statuses(self, table: pl.DataFrame) -> np.ndarray:
        """Return `seen`, `prior` (unseen target with features) or `refused` for each condition."""
        statuses = []
        for condition in conditions_of(table):
            known = self.targets.find(condition.targets) >= 0
            described = self.described.find(condition.targets) >= 0
            if condition.context not in self.contexts or not (known | described).all():
                statuses.append("refused")
            else:
                statuses.append("seen" if known.all() else "prior")
        return np.array(statuses, dtype="<U9")

    def state(self) -> State:
        """Return weights, and vocabularies with the base's state beside them."""
        arrays = {f"net.{k}": v.detach().cpu().numpy() for k, v in self.state_dict().items()}
        base_arrays, base_about = self.base.state()
        arrays |= {f"base.{k}": v for k, v in base_arrays.items()}
        about = {
            "unit": self.unit,
            "targets": list(self.targets),
            "contexts": list(self.contexts),
            "readouts": list(self.readouts),
            "described": list(self.described),
            "n_features": self.features.shape[1],
            "scale": self.scale,
            "base": base_about,
        }
        return arrays, about

    @classmethod
    def restore(cls, config: LpmConfig, state: State) -> Self:
        """Rebuild a model from its state."""
        arrays, about = state
        model = cls(config, about)
        net = {k[4:]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("net.")}
        model.load_state_dict(net)
        base = {k[5:]: v for k, v in arrays.items() if k.startswith("base.")}
        model._base = restore_base(config.base, (base, about["base"]), model.readouts)
        return model.eval()


def embedding_table(model: Lpm, which: Literal["perturbation", "context", "readout"]) -> Features:
    """Return learned embeddings by name, for maps and nearest neighbours.

    A perturbation's embedding is what the network sees of it: symbol and features together.
    """
    with torch.no_grad():
        if which == "context":
            return Features(model.contexts, model.context.weight.numpy(), "lpm_context")
        if which == "readout":
            return Features(model.readouts, model.readout.weight.numpy(), "lpm_readout")
        codes = model.described.find(model.targets)
        codes[codes < 0] = len(model.described)
        values = model.target.weight[:-1] + model.describe(model.features[torch.from_numpy(codes)])
        return Features(model.targets, values.numpy(), "lpm_perturbation")


card = ModelCard(
    name="lpm",
    summary="Large Perturbation Model: an MLP over perturbation, readout and context embeddings",
    source="Miladinovic et al. 2025, doi:10.1038/s43588-025-00870-1; residual on a closed form",
    config=LpmConfig,
    model=Lpm,
    trained=True,
    predicts=frozenset({"combinations"}),
)
