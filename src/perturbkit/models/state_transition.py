"""STATE's transition model: sets of control cells in, sets of perturbed cells out."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from perturbkit.core.condition import complete_table, condition_keys, conditions_of
from perturbkit.core.errors import SchemaError, UnitError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.responses import STATUSES, Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.units import RELATIVE_UNITS
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.stats import TARGET_SUM
from perturbkit.graphs.configured import configured_graphs
from perturbkit.models.card import ModelCard, State
from perturbkit.models.cells import CellBatch, CellData, PredictedCells
from perturbkit.models.control_cells import ControlCells
from perturbkit.models.count_decoder import CountDecoder
from perturbkit.models.nn.condition_rows import padded_targets
from perturbkit.models.nn.perturbation import EncoderConfig, PerturbationEncoder
from perturbkit.models.nn.transition import TransitionNet, padded
from perturbkit.models.nn.transition_loss import count_loss, set_distance
from perturbkit.models.relative_effects import (
    RelativeEffects,
    RelativeEffectsConfig,
    crossfitted_changes,
)
from perturbkit.models.state_transition_config import StateTransitionConfig


class StateTransition(nn.Module):
    """Control cell + closed-form change + what a transformer over the set adds.

    Cells of a set have no order and pads are seen by none, so permuting the cells permutes the
    answer, and sets of any size need no repeated cell.

    Source:
        STATE (Adduri et al. 2025), transition model, from its description; it repeats cells to
        fill sets and has no closed form.
    """

    def __init__(self, config: StateTransitionConfig, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.about = config, dict(about)
        self.unit, self.store_unit = about["unit"], about["store_unit"]
        self.contexts = Vocabulary(about["contexts"], "context")
        self.readouts = Vocabulary(about["readouts"], "readout")
        self._base: RelativeEffects | None = None
        self._controls: ControlCells | None = None
        self._decoders: dict[str, CountDecoder] = {}
        self._crossfitted: dict[str, np.ndarray] = {}
        sizes = {"n_readouts": len(self.readouts), "n_contexts": len(self.contexts),
                 "n_heads": config.n_heads, "d_hid": config.d_hid,
                 "n_layers": config.n_layers, "rank": config.rank}  # fmt: skip
        self.net: TransitionNet = TransitionNet(
            PerturbationEncoder.restore(about["encoder"]), sizes, config.dropout,
            np.random.default_rng(about["seed"]), confidence=config.confidence,
            counts=config.loss == "counts",
        )  # fmt: skip

    @classmethod
    def build(
        cls,
        config: StateTransitionConfig,
        cells: CellData,
        features: Features | None,
        rng: np.random.Generator,
        *,
        graphs: Mapping[str, Graph] | None = None,
    ) -> Self:
        """Make an untrained model on the training cells.

        Args:
            config: the settings.
            cells: cells and profiles of the training conditions.
            features: vectors of targets.
            rng: initialises the weights and draws the control cells kept.
            graphs: networks; by default those of `graph_config`.

        Raises:
            SchemaError: every training condition is a control.
            UnitError: the loss is of counts, and the cells are in another unit.
        """
        profiles = cells.profiles
        if bool(profiles.is_control.all()):
            message = "every training condition is a control; there is no change to learn"
            raise SchemaError(message)
        if config.loss == "counts" and cells.store.unit != "counts":
            message = f"the cells are in {cells.store.unit}; loss 'counts' needs counts"
            raise UnitError(message)
        nets = configured_graphs(config.graph_config, config.graph_folder, features) \
            if graphs is None else dict(graphs)  # fmt: skip
        targets = {t for c in conditions_of(profiles.conditions) for t in c.targets}
        encoder = PerturbationEncoder(
            Vocabulary(sorted(targets), "target"), config.d_model, rng, features=features,
            graphs=nets or None,
            config=EncoderConfig(identity_dropout=config.identity_dropout, dropout=config.dropout),
        )  # fmt: skip
        controls = ControlCells.of(cells, config.n_controls, rng, log=True)
        about = {
            "unit": profiles.unit, "store_unit": cells.store.unit,
            "contexts": list(controls.contexts), "readouts": list(profiles.readouts),
            "encoder": encoder.plain(), "seed": int(rng.integers(2**31)),
            "trained": profiles.keys,
            "trained_contexts": sorted(set(profiles.contexts[~profiles.is_control].tolist())),
        }  # fmt: skip
        model = cls(config, about)
        model.net.encoder, model._controls = encoder, controls
        origin = np.asarray(profiles.control_of(controls.contexts), np.float32)
        model.net.control_kg.copy_(torch.from_numpy(origin))
        delta = profiles.delta_cg()[~profiles.is_control]
        model.net.scale.fill_(float(np.nanstd(delta)) or 1.0)
        if config.loss == "counts":
            model.net.start_counts(controls.x_ng, CountDecoder.of(controls.x_ng, rng).dispersion_g)
        if config.base != "none":
            settings = RelativeEffectsConfig()
            model._base = RelativeEffects.with_graphs(settings, profiles, nets)
            model._crossfitted = crossfitted_changes(settings, profiles, nets, rng)
        return model

    @property
    def controls(self) -> ControlCells:
        """The control cells kept.

        Raises:
            SchemaError: the model was made by its constructor alone.
        """
        if self._controls is None:
            message = "this model was not built on cells; use StateTransition.build or restore"
            raise SchemaError(message)
        return self._controls

    def encode(self, conditions: pl.DataFrame) -> dict[str, Tensor]:
        """Return conditions as tensors [c, ...] for training.

        Training conditions carry the change that a closed form fitted without them predicts, so
        that the network learns the errors it will meet.
        """
        rows = self._rows(conditions)
        for i, key in enumerate(condition_keys(conditions)):
            if key in self._crossfitted:
                rows["change"][i] = torch.from_numpy(self._crossfitted[key])
                rows["adds"][i] = True
        return rows

    def _rows(self, table: pl.DataFrame) -> dict[str, Tensor]:
        parsed = conditions_of(table)
        rows = padded_targets(self.net.encoder, parsed)
        change = np.zeros((len(parsed), len(self.readouts)), np.float32)
        is_control = np.array([c.is_control for c in parsed], bool)
        if self._base is not None:
            known = self._base.change(self._base.frame.ask(table))[0]
            change[~is_control] = np.nan_to_num(known)[~is_control]
        context = self.contexts.find(c.context for c in parsed)
        trained = set(self.about["trained"])
        held_out = np.array([k not in trained for k in condition_keys(table)], bool)
        return rows | {
            "change": torch.from_numpy(change),
            "context": torch.from_numpy(np.maximum(context, 0)),
            # what was measured needs no guess of what the closed form misses
            "adds": torch.from_numpy(~is_control & (held_out | (self._base is None))),
            "held_out": torch.from_numpy(held_out),
        }  # fmt: skip

    def loss(self, batch: CellBatch) -> Tensor:
        """Return the distance of predicted and measured sets, averaged over the sets."""
        return self._losses(batch)[0].mean()

    def validation_loss(self, batch: CellBatch) -> Tensor:
        """Return the same, conditions never trained on counting ten times as much."""
        losses, held_out = self._losses(batch)
        weight = torch.where(held_out, 1.0, 0.1)
        return (losses * weight).sum() / weight.sum()

    def _losses(self, batch: CellBatch) -> tuple[Tensor, Tensor]:
        """Return the loss of each set, and whether its condition is held out."""
        assert batch.set_of is not None
        assert batch.control is not None
        truth, mask = padded(self._log(batch.x), batch.set_of)
        controls, _ = padded(self._log(batch.control), batch.set_of)
        first = torch.searchsorted(batch.set_of, torch.arange(len(truth), device=truth.device))
        rows = {k: v[batch.condition[first]] for k, v in batch.rows.items()}
        change, foretold = self.net(controls, mask, rows)
        if self.config.loss == "counts":
            counts, _ = padded(batch.x, batch.set_of)
            total = count_loss(counts, mask, *self.net.count_law(change, mask, rows["context"]))
        else:
            moved = self._floored(self.net.move(controls, change, rows["context"]))
            total = set_distance(self.config.loss, moved, truth, mask)
        share = mask.to(truth)[..., None] / mask.sum(1)[:, None, None]
        gap = ((controls + change - truth) * share).sum(1)
        total = total + self.config.mean_weight * gap.square().mean(-1)
        if foretold is not None:
            total = total + 0.1 * (foretold - total.detach()).square()
        return total, rows["held_out"]

    def _log(self, x_ng: Tensor) -> Tensor:
        if self.store_unit != "counts":
            return x_ng
        return torch.log1p(x_ng * (TARGET_SUM / x_ng.sum(1, keepdim=True).clamp_min(1e-9)))

    def _floored(self, x: Tensor) -> Tensor:
        return x if self.unit in RELATIVE_UNITS else x.relu()

    def statuses(self, conditions: pl.DataFrame) -> np.ndarray:
        """Return how each condition can be answered: seen, prior, neighbour or refused."""
        parsed, encoder = conditions_of(conditions), self.net.encoder
        ranks = np.zeros(len(parsed), np.int64)
        for i, (c, status) in enumerate(zip(parsed, encoder.encode(parsed).status, strict=True)):
            ranks[i] = STATUSES.index(status)
            silent = [t for t in c.targets if encoder.status_of(t) == "refused"]
            if silent and self._base is not None and all(map(self._base.reach.knows, silent)):
                ranks[i] = STATUSES.index("prior")  # its own readout or the networks say something
            if c.context not in self.contexts:
                ranks[i] = STATUSES.index("refused")
            elif c.context not in self.about["trained_contexts"] and not c.is_control:
                ranks[i] = max(ranks[i], STATUSES.index("prior"))
        return np.array(STATUSES)[ranks].astype("<U9")

    @torch.no_grad()
    def _changes(self, rows: Mapping[str, Tensor], i: int, x_ng: np.ndarray) -> np.ndarray:
        """Return the change of each control cell under condition i, [n, g]; the cells are a set."""
        was_training, device = self.training, self.net.token.device
        self.eval()
        row = {k: v[i : i + 1].to(device) for k, v in rows.items()}
        x = torch.from_numpy(x_ng)[None].to(device)
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=device)
        change = self.net(x, mask, row)[0][0].cpu().numpy()
        self.train(was_training)
        return change

    def predict_perturbation_effects(self, conditions: pl.DataFrame) -> np.ndarray:
        """Return the predicted change of each condition's mean, [c, g]; NaN where refused."""
        rows, effects = self._rows(conditions), []
        for i, status in enumerate(self.statuses(conditions)):
            if status == "refused":
                effects.append(np.full(len(self.readouts), np.nan, np.float32))
                continue
            context = self.contexts[int(rows["context"][i])]
            effects.append(self._changes(rows, i, self.controls.all_of(context)).mean(0))
        return np.stack(effects) if effects else np.zeros((0, len(self.readouts)), np.float32)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict the mean of any conditions; what the model knows nothing of is refused."""
        table = _plain(conditions)
        place = np.maximum(self.contexts.find(table["context"]), 0)
        values = self.net.control_kg.cpu().numpy()[place] + self.predict_perturbation_effects(table)
        if self.unit not in RELATIVE_UNITS:
            values = np.maximum(values, 0)  # NaN stays
        table = table.with_columns(status=pl.Series(self.statuses(table).astype(str)))
        return Responses(values[None], table, self.readouts, self.unit)

    def predict_cells(
        self, conditions: pl.DataFrame, n: int, rng: np.random.Generator
    ) -> PredictedCells:
        """Take control cells of each condition's context, as one set, and move them."""
        table = _plain(conditions)
        status, rows = self.statuses(table), self._rows(table)
        drawn: list[np.ndarray | None] = []
        for i in range(table.height):
            if status[i] == "refused":
                drawn.append(None)
                continue
            context = self.contexts[int(rows["context"][i])]
            x = self._start(context, n, rng)
            change = self._changes(rows, i, x)
            if self.config.decoder == "counts" and self.unit not in RELATIVE_UNITS:
                drawn.append(self._decoder(context).draw(x, change, rng))
            else:
                device = self.net.token.device
                cells, by = (torch.from_numpy(v)[None].to(device) for v in (x, change))
                moved = self.net.move(cells, by, rows["context"][i : i + 1])
                drawn.append(self._floored(moved)[0].detach().cpu().numpy())
        table = table.with_columns(status=pl.Series(status.astype(str)))
        return PredictedCells(table, drawn, self.readouts, self.unit)

    def _start(self, context: str, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.config.draw == "random":
            return self.controls.draw(context, n, rng)
        return self.controls.representative(context, n, rng)

    def _decoder(self, context: str) -> CountDecoder:
        if context not in self._decoders:
            rng = named_rng(self.about["seed"], "decoder", context)
            self._decoders[context] = CountDecoder.of(
                self.controls.all_of(context), rng, self.net.dispersion()
            )
        return self._decoders[context]

    def state(self) -> State:
        """Return weights, control cells and the closed form; names beside them."""
        arrays = {f"net.{k}": v.detach().cpu().numpy() for k, v in self.net.state_dict().items()}
        cells, of_cells = self.controls.state()
        arrays |= {f"cells.{k}": v for k, v in cells.items()}
        about = self.about | {"cells": of_cells, "encoder": self.net.encoder.plain()}
        if self._base is not None:
            base, about["base"] = self._base.state()
            arrays |= {f"base.{k}": v for k, v in base.items()}
        return arrays, about

    @classmethod
    def restore(cls, config: StateTransitionConfig, state: State) -> Self:
        """Rebuild a model from its state."""
        arrays, about = state
        parts = {
            name: {k[len(name) + 1 :]: v for k, v in arrays.items() if k.startswith(f"{name}.")}
            for name in ("net", "cells", "base")
        }
        model = cls(config, {k: v for k, v in about.items() if k not in ("cells", "base")})
        model.net.load_state_dict({k: torch.from_numpy(v) for k, v in parts["net"].items()})
        model._controls = ControlCells.restore((parts["cells"], about["cells"]))
        if "base" in about:
            settings = RelativeEffectsConfig()
            model._base = RelativeEffects.restore(settings, (parts["base"], about["base"]))
        return model.eval()


def _plain(conditions: pl.DataFrame) -> pl.DataFrame:
    return complete_table(conditions).drop("n_cells", "status", strict=False)


card = ModelCard(
    name="state_transition",
    summary="sets of control cells moved by a closed form and a transformer over the set",
    source="STATE, transition model (Adduri et al. 2025, bioRxiv 2025.06.26.661135); from a page",
    config=StateTransitionConfig,
    model=StateTransition,
    trained=True,
    level="cells",
    batches="sets",
    controls=True,
    train={"learning_rate": 1e-3, "n_epochs": 10, "set_cells": 32, "batch_cells": 512},
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
