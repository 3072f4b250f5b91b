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
from perturbkit.models.base import Base, restore_base
from perturbkit.models.block import Block
from perturbkit.models.card import ModelCard, State
from perturbkit.models.choose_base import USUAL_SLOPES, ChosenBase
from perturbkit.models.contexts import Controls
from perturbkit.models.lpm_config import LpmConfig
from perturbkit.models.nn.condition_rows import condition_vectors, padded_targets
from perturbkit.models.nn.grid import GridDecoder, Products
from perturbkit.models.nn.perturbation import EncoderConfig, PerturbationEncoder
from perturbkit.models.nn.tower import RowTower
from perturbkit.models.trust import share_to_add
from perturbkit.models.warm_start import WarmFactors, warm_factors

_AT_ONCE = 16_000_000
"""hidden activations (rows x readouts x width) computed at once when predicting: 64 MB"""


class Lpm(nn.Module):
    """A multi-layer perceptron over embeddings of context, perturbation and readout.

    y(c, p, r) = base(c, p, r) + share * scale * MLP([E_C[c]; agg_k E_P[k]; E_R[r]]).

    Source:
        Miladinovic et al. 2025, doi:10.1038/s43588-025-00870-1, section "LPM". Deviations: the
        MLP runs on blocks (`GridDecoder`), the network may learn the residual of a closed-form
        base, and unseen targets are predicted from features, or by the base, or refused, where
        the published code answers with the control.
    """

    def __init__(self, config: LpmConfig, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.unit = about["unit"]
        self.contexts = Vocabulary(about["contexts"], "context")
        self.readouts = Vocabulary(about["readouts"], "readout")
        self.scale = float(about["scale"])
        self._base: Base | None = None
        self._chosen: ChosenBase | None = None
        self.trained = list(about.get("trained", about["contexts"]))
        self.controls: Controls | None = None
        self.share = float(about.get("share", 1.0))
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
            raise SchemaError("this model was not built on data; use Lpm.build or Lpm.restore")
        return self._base

    @classmethod
    def build(
        cls,
        config: LpmConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
        like: Self | None = None,
    ) -> Self:
        """Make an untrained model with the vocabularies of `train` and a fitted base.

        The base and its slopes are chosen as in `like`, which was fitted on part of `train`.

        Raises:
            SchemaError: every training condition is a control.
        """
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
        of = None if like is None else like._chosen
        chosen = ChosenBase.choose((config.base,) if of is None else of.plain.kinds, train, rng)
        share = USUAL_SLOPES if of is None else of.slope_share
        model._chosen = chosen.with_slopes(share if config.slopes else 0.0)
        model._base, residual = model._chosen.base, model._chosen.missed_cg
        model.scale = float(np.nanstd(residual[~train.is_control])) or 1.0
        model._initialize(torch_generator(rng))
        if config.warm_start:
            values = model.training_values(train, rng, held_out=False)
            model._warm_start(warm_factors(train.conditions, values, encoder.names, rng))
        return model

    def weigh_base(self, val: Responses) -> None:
        """Keep the slopes on the base only as far as validation conditions clearly gain."""
        if self.config.slopes and self._chosen is not None and self.base.kind != "none":
            self._chosen = self._chosen.weighed(val)
            self._base = self._chosen.base

    def weigh_network(self, val: Responses) -> None:
        """Add as much of the network to the base as validation conditions clearly gain from."""
        if self.base.kind != "none":
            missed = self.training_values(val, np.random.default_rng(0), held_out=True)
            self.share = share_to_add(missed, self.residual(val.conditions))

    def again(self, train: Responses, features: Features | None, rng: np.random.Generator) -> Self:
        """Return an untrained model on more conditions, base and shares chosen as they are here."""
        other = self.build(self.config, train, features, rng, like=self)
        other.share = self.share
        return other

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
        by_control = self.controls.shares if self.controls is not None else None
        context = by_control(names) if by_control else self.contexts.find(names)
        return {"context": torch.from_numpy(context)} | padded_targets(self.encoder, conditions)

    def forward(self, rows: dict[str, Tensor], columns: Tensor) -> Tensor:
        """Return the network's part, standardized, [r, q]."""
        of = rows["context"]
        context = of @ self.context.weight if of.is_floating_point() else self.context(of)
        row = torch.cat([context, condition_vectors(self.encoder, rows)], -1)
        if self.tower is not None:
            row = self.tower(row)
        return self.decoder(row, self.readout(columns))

    def with_controls(self, measured: Responses) -> Self:
        """Return the model that also answers contexts by their control profiles.

        Raises:
            SchemaError: the model knows contexts by symbol alone, or the unit differs.
            UnknownNameError: a readout of the model was not measured.
        """
        if self.controls is None:
            message = (
                "this model knows contexts by symbol alone; fit with --set "
                "model.context_from=control to predict others from their control profile"
            )
            raise SchemaError(message)
        if measured.unit != self.unit:
            message = f"the controls are in {measured.unit} and the model in {self.unit}"
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
        elif self._chosen is not None and self._chosen.train is measured:
            residual = self._chosen.missed_cg
        else:
            residual = self.base.crossfitted_residual(measured, rng)
        residual = residual / self.scale
        if self.base.kind != "none":
            residual[measured.is_control] = np.nan  # the control is the base's, exactly
        return residual.astype(np.float32)

    @torch.no_grad()
    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict any conditions, each with its status; refused ones are NaN.

        In contexts that the network does not know, and of targets that nothing describes, the base
        answers alone where it can: a prior. Where features describe targets, a name without any is
        refused, since it is most likely misspelt.
        """
        conditions = complete_table(conditions)
        status = self.statuses(conditions)
        values, base_status = self.base.predict(conditions)
        if self.controls is not None and self.base.kind != "none":
            self.controls.carry_over(self.base, conditions, values, base_status)
        refused = (base_status == "refused") | self._unnamed(conditions)
        by_network = (status != "refused") & ~refused
        if self.base.kind == "none":
            refused |= status == "refused"
        else:
            by_network &= np.array([not c.is_control for c in conditions_of(conditions)], bool)
            status[status == "refused"] = "prior"
        if self.controls is None:  # of a context without perturbations no vector was learned
            by_network &= np.isin(conditions["context"].to_numpy(), self.trained)
        rows = np.flatnonzero(by_network)
        if rows.size and self.share:
            values[rows] += self.share * self.scale * self.residual(conditions[rows])
        status[refused], values[refused] = "refused", np.nan
        table = conditions.with_columns(status=pl.Series(status.astype(str)))
        return Responses(values[None], table, self.readouts, self.unit)

    def _unnamed(self, conditions: pl.DataFrame) -> np.ndarray:
        """Say where a target is unknown although features name those that could be asked for."""
        encoded = self.encoder.encode(conditions_of(conditions)).status
        return (np.array(encoded) == "refused") & self.encoder.can_generalise

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
        """Return how the network can answer each condition: seen, prior, neighbour or refused."""
        conditions = conditions_of(table)
        statuses = np.array(self.encoder.encode(conditions).status, dtype="<U9")
        names = np.array([c.context for c in conditions])
        weak = ~np.isin(names, self.trained) & (statuses == "seen")
        statuses[weak & np.array([not c.is_control for c in conditions], bool)] = "prior"
        unknown = np.array([n not in self.contexts for n in names], bool)
        described = self.controls is not None and self.controls.describes(names)
        statuses[unknown & ~np.asarray(described)] = "refused"
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
            "share": self.share,
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
