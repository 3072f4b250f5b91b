"""The Large Perturbation Model: one network over (perturbation, readout, context) embeddings."""

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from perturbkit.core.condition import complete_table, conditions_of
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.base import Base, choose_base, restore_base
from perturbkit.models.block import Block
from perturbkit.models.card import ModelCard, State
from perturbkit.models.contexts import Controls, changed_controls
from perturbkit.models.lpm_config import LpmConfig
from perturbkit.models.nn.condition_rows import condition_vectors, padded_targets
from perturbkit.models.nn.grid import GridDecoder, Products
from perturbkit.models.nn.perturbation import EncoderConfig, PerturbationEncoder
from perturbkit.models.nn.tower import RowTower
from perturbkit.models.warm_start import WarmFactors, warm_factors

_AT_ONCE = 16_000_000
"""hidden activations (rows x readouts x width) computed at once when predicting: 64 MB"""


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
        self.contexts = Vocabulary(about["contexts"], "context")
        self.readouts = Vocabulary(about["readouts"], "readout")
        self.scale = float(about["scale"])
        self._base: Base | None = None
        self.trained = list(about.get("trained", about["contexts"]))
        self.controls: Controls | None = None
        self._missed: tuple[Responses, np.ndarray] | None = None
        width = config.embedding_dim
        self.encoder = PerturbationEncoder.restore(about["encoder"])
        by_control = config.context_from == "control"
        n_contexts = len(self.trained) if by_control else len(self.contexts)
        self.context = nn.Embedding(n_contexts, width)
        self.readout = nn.Embedding(len(self.readouts), width)
        self.tower = RowTower(2 * width, config.row_hidden) if config.row_hidden else None
        self.decoder = GridDecoder(
            2 * width, width, config.hidden_dim, config.n_layers, config.dropout,
            Products(config.products, config.product_rank),
        )  # fmt: skip

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
        targets = {t for c in conditions_of(train.conditions) for t in c.targets}
        encoder = PerturbationEncoder(
            Vocabulary(sorted(targets), "target"),
            config.embedding_dim,
            rng,
            features=features,
            config=EncoderConfig(
                identity_dropout=config.identity_dropout, aggregation=config.aggregation
            ),
        )
        about = {
            "unit": train.unit,
            "contexts": sorted(set(train.contexts.tolist())),
            "trained": sorted(set(train.contexts[~train.is_control].tolist())),
            "readouts": list(train.readouts),
            "encoder": encoder.plain(),
            "scale": 1.0,
        }
        model = cls(config, about)
        model.encoder = encoder
        if config.context_from == "control":
            model.controls = Controls.of(train)
        model._base, residual = choose_base(config.base, train, rng, slopes=config.slopes)
        model._missed = train, residual
        model.scale = float(np.nanstd(residual[~train.is_control])) or 1.0
        model._initialize(torch_generator(rng))
        if config.warm_start:
            values = model.training_values(train, rng, held_out=False)
            model._warm_start(warm_factors(train.conditions, values, encoder.names, rng))
        return model

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        scale = self.config.embedding_scale
        for weight in (self.context.weight, self.encoder.identity, self.readout.weight):
            weight.normal_(0, scale, generator=generator)
        self.decoder.initialize(generator, scale)
        if self.tower is not None:
            self.tower.initialize(generator)
        if self.base.kind != "none" and self.decoder.out is not None:
            self.decoder.out.weight.zero_()  # training starts from the base alone

    @torch.no_grad()
    def _warm_start(self, factors: WarmFactors) -> None:
        """Put the leading factors of the training set into the first embedding dimensions."""
        share = 3 * self.config.embedding_dim // 8
        scale = self.config.embedding_scale
        n = factors.put(self.encoder.identity, self.readout.weight, share, scale)
        if self.controls is None:
            factors.put_contexts(self.context.weight, self.readout.weight, n, scale)

    def encode(self, table: pl.DataFrame) -> dict[str, Tensor]:
        """Return the conditions as tensors with the first axis c.

        `context` [c], or the shares of trained contexts [c, k]; the rest as `padded_targets`.
        """
        conditions = conditions_of(table)
        names = [c.context for c in conditions]
        by_symbol = torch.from_numpy(self.contexts.find(names))
        context = by_symbol if self.controls is None else self._mix(self.controls, names)
        return {"context": context} | padded_targets(self.encoder, conditions)

    def forward(self, rows: dict[str, Tensor], columns: Tensor) -> Tensor:
        """Return the network's part, standardized, [r, q]."""
        of = rows["context"]
        context = of @ self.context.weight if of.is_floating_point() else self.context(of)
        row = torch.cat([context, condition_vectors(self.encoder, rows)], -1)
        if self.tower is not None:
            row = self.tower(row)
        return self.decoder(row, self.readout(columns))

    def _mix(self, controls: Controls, names: list[str]) -> Tensor:
        """Return the share of each trained context in each context, [c, k]; unknown ones 0."""
        known = [n for n in names if n in controls.profiles]
        mix = np.zeros((len(names), len(controls.trained)), np.float32)
        mix[[n in controls.profiles for n in names]] = controls.mix(known)
        return torch.from_numpy(mix)

    def with_controls(self, measured: Responses) -> Self:
        """Return the model with the control profiles of further contexts, which it then answers.

        Raises:
            SchemaError: the model knows contexts by symbol alone.
        """
        if self.controls is None:
            message = (
                "this model knows contexts by symbol alone; fit with --set "
                "model.context_from=control to predict others from their control profile"
            )
            raise SchemaError(message)
        other = copy(self)
        other.controls = self.controls.with_new(measured.with_readouts(self.readouts))
        return other

    def loss(self, batch: Block) -> Tensor:
        """Mean error of the standardized residual over the measured values."""
        error = self(batch.rows, batch.columns).float() - batch.values
        measured = ~torch.isnan(batch.values)
        error = torch.where(measured, error, 0.0)
        each = error.pow(2)
        if self.config.loss == "huber":
            each = torch.where(error.abs() < 1, each, 2 * error.abs() - 1)
        return each.sum() / measured.sum().clamp(min=1)

    def training_values(
        self, measured: Responses, rng: np.random.Generator, *, held_out: bool
    ) -> np.ndarray:
        """Return what the network is to say of `measured`, float32 [c, g], NaN not measured.

        Conditions that the base was fitted on (`held_out=False`) get its cross-fitted error, so
        that the network sees the errors it will meet.
        """
        if held_out:
            residual = measured.mean_cg - self.base.predict(measured.conditions)[0]
        elif self._missed is not None and self._missed[0] is measured:
            residual = self._missed[1]
        else:
            residual = self.base.crossfitted_residual(measured, rng)
        residual = residual / self.scale
        if self.base.kind != "none":
            residual[measured.is_control] = np.nan  # the control is the base's, exactly
        return residual.astype(np.float32)

    @torch.no_grad()
    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict any conditions; what the model knows nothing of is refused, as NaN."""
        conditions = complete_table(conditions)
        status = self.statuses(conditions)
        values, base_status = self._of_base(conditions)
        answered = np.flatnonzero((status != "refused") & (base_status != "refused"))
        is_control = np.array([c.is_control for c in conditions_of(conditions)], bool)
        if self.base.kind != "none":
            answered = answered[~is_control[answered]]
        if self.controls is None:  # of a context without perturbations no vector was learned
            answered = answered[np.isin(conditions["context"].to_numpy(), self.trained)[answered]]
        refused = (status == "refused") | (base_status == "refused")
        status[refused] = "refused"
        if answered.size:
            values[answered] += self.scale * self.residual(conditions[answered])
        values[refused] = np.nan
        table = conditions.with_columns(status=pl.Series(status.astype(str)))
        return Responses(values[None], table, self.readouts, self.unit)

    def _of_base(self, conditions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return what the base says; in new contexts, the change in those they resemble."""
        values, status = self.base.predict(conditions)
        names = conditions["context"].to_numpy()
        new = np.array([n not in self.contexts for n in names], bool)
        if self.controls is None or self.base.kind == "none":
            status[new & self._described(names)] = "prior"
            return values, status
        rows = np.flatnonzero(new & self._described(names))
        if rows.size:
            asked = conditions[rows]
            values[rows], status[rows] = changed_controls(self.base, self.controls, asked)
        return values, status

    def _described(self, names: np.ndarray) -> np.ndarray:
        profiles = {} if self.controls is None else self.controls.profiles
        return np.array([n in profiles for n in names], bool)

    @torch.no_grad()
    def residual(self, table: pl.DataFrame) -> np.ndarray:
        """Return the network's part, standardized, of conditions it can answer, [c, g]."""
        was_training = self.training
        self.eval()
        device = self.readout.weight.device
        rows = {k: v.to(device) for k, v in self.encode(table).items()}
        columns = torch.arange(len(self.readouts), device=device)
        size = max(1, _AT_ONCE // (len(self.readouts) * self.config.hidden_dim))
        parts = [
            self({k: v[i : i + size] for k, v in rows.items()}, columns).float().cpu()
            for i in range(0, table.height, size)
        ]
        self.train(was_training)
        return torch.cat(parts).numpy()

    def statuses(self, table: pl.DataFrame) -> np.ndarray:
        """Return the status of each condition: seen, prior, neighbour or refused."""
        conditions = conditions_of(table)
        statuses = np.array(self.encoder.encode(conditions).status, dtype="<U9")
        names = np.array([c.context for c in conditions])
        weak = ~np.isin(names, self.trained) & (statuses == "seen")
        statuses[weak & np.array([not c.is_control for c in conditions], bool)] = "prior"
        unknown = np.array([n not in self.contexts for n in names], bool)
        statuses[unknown & ~self._described(names)] = "refused"
        return statuses

    def state(self) -> State:
        """Return weights, and vocabularies with the base's state beside them."""
        arrays = {f"net.{k}": v.detach().cpu().numpy() for k, v in self.state_dict().items()}
        base_arrays, base_about = self.base.state()
        arrays |= {f"base.{k}": v for k, v in base_arrays.items()}
        about = {
            "unit": self.unit,
            "contexts": list(self.contexts),
            "trained": self.trained,
            "readouts": list(self.readouts),
            "encoder": self.encoder.plain(),
            "scale": self.scale,
            "base": {"kind": self.base.kind, "about": base_about},
        }
        if self.controls is not None:
            profiles, about["controls"] = self.controls.state()
            arrays |= {f"controls.{k}": v for k, v in profiles.items()}
        return arrays, about

    @classmethod
    def restore(cls, config: LpmConfig, state: State) -> Self:
        """Rebuild a model from its state."""
        arrays, about = state
        model = cls(config, about)
        net = {k[4:]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("net.")}
        model.load_state_dict(net)
        base = {k[5:]: v for k, v in arrays.items() if k.startswith("base.")}
        state = (base, about["base"]["about"])
        model._base = restore_base(about["base"]["kind"], state, model.readouts)
        if "controls" in about:
            profiles = {"profiles": arrays["controls.profiles"]}
            model.controls = Controls.restore(profiles, about["controls"])
        return model.eval()


card = ModelCard(
    name="lpm",
    summary="Large Perturbation Model: an MLP over perturbation, readout and context embeddings",
    source="Miladinovic et al. 2025, doi:10.1038/s43588-025-00870-1; residual on a closed form",
    config=LpmConfig,
    model=Lpm,
    trained=True,
    train={"block_readouts": 256, "learning_rate": 2e-2, "weight_decay": 0.5},
    predicts=frozenset({"combinations", "perturbations"}),
    before={"products": 0, "row_hidden": 0, "warm_start": False, "slopes": False},
)
