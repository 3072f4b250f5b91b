"""A variational autoencoder of cells: one class for the whole family, told apart by its effect."""

from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from perturbkit.core.condition import conditions_of
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import State
from perturbkit.models.cells import CellBatch, CellData, PredictedCells
from perturbkit.models.nn.perturbation import EncoderConfig, PerturbationEncoder
from perturbkit.models.vae import predict
from perturbkit.models.vae.artefact import Artefact
from perturbkit.models.vae.config import VaeConfig
from perturbkit.models.vae.divergence import normal_kl, normals_kl
from perturbkit.models.vae.effects import Drawn, Sizes, drawn_normal
from perturbkit.models.vae.likelihood import likelihood_of
from perturbkit.models.vae.networks import Beside, Decoder, Encoder
from perturbkit.models.vae.start import learn_scales
from perturbkit.models.vae.targets import DoseFactor, Targets
from perturbkit.models.vae.totals import Totals


class Terms(NamedTuple):
    """The parts of the bound for some cells, in nats."""

    reconstruction: Tensor
    """[s, n], log likelihood of each cell under each particle"""
    state_cost: Tensor
    """[s, n], divergence of q(z | x) from its prior; s is 1 where all particles agree"""
    effect_cost: Tensor
    """[], the batch's share of the divergences of the perturbations' variables"""
    artefact_cost: Tensor
    """[], the same of the artefact, and the counterfactual's divergence"""


class CellVae(nn.Module):
    """x ~ likelihood(decoder(z, effect)), z ~ N(0, I), the effect as `config.effect` says.

    The bound of each batch is an unbiased share of the whole data's: a variable that several
    cells have in common costs each of them one part in as many as there are.

    Source:
        The SAMS-VAE family (Bereket & Karaletsos 2023, arXiv 2311.02794) as one class: conditional
        VAE, CPA-VAE, SVAE+, SAMS-VAE, CRADLE-VAE's artefact. Deviations: divergences are exact
        where they have a closed form, nothing is sampled that is not used, one pass of the
        decoder serves good and failed cells, and predictions of seen conditions take what their
        cells say, shrunken, beside the decoder.
    """

    cells_of_target: Tensor
    centre: Tensor
    spread: Tensor
    draws: Tensor

    def __init__(self, config: VaeConfig, about: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.about = config, about
        self.unit, self.store_unit = about["unit"], about["store_unit"]
        self.contexts = Vocabulary(about["contexts"], "context")
        self.readouts = Vocabulary(about["readouts"], "readout")
        self.targets = PerturbationEncoder.restore(about["encoder"])
        self.one_hot = bool(about["one_hot"])
        kind = config.likelihood
        if kind == "auto":
            kind = "negative_binomial" if self.store_unit == "counts" else "gaussian"
        n_readouts, n_targets = len(self.readouts), self.targets.n_trained
        self.likelihood = likelihood_of(kind, n_readouts)
        generator = torch.Generator().manual_seed(about["seed"])
        width = int(about.get("effect_width", config.latent_dim))
        vector_width = 0 if self.one_hot else config.embedding_dim
        self.effect = config.effect(Sizes(width, n_targets, vector_width), generator)
        self.dose = DoseFactor()
        self.artefact = None
        if config.artefact == "quality":
            self.artefact = Artefact(
                config.latent_dim, about["n_conditions"], n_readouts, config.artefact_threshold
            )
        self.encoder, self.decoder = self._networks(width)
        self.register_buffer("cells_of_target", torch.ones(n_targets))
        self.register_buffer("centre", torch.zeros(n_readouts))
        self.register_buffer("spread", torch.ones(n_readouts))
        self.register_buffer("draws", torch.zeros(config.n_draws, config.latent_dim))
        self.totals: Totals | None = None

    def _networks(self, effect_width: int) -> tuple[Encoder, Decoder]:
        config, n_batches = self.config, len(self.about["batches"])
        artefact = config.latent_dim if self.artefact is not None else 0

        def beside(effect: int, hidden: int) -> Beside:
            return Beside(effect, artefact, len(self.contexts), n_batches, hidden)

        latent, hidden, g = config.latent_dim, config.hidden_dim, len(self.readouts)
        seen = effect_width if config.encoder_sees_effect else 0
        placed = effect_width if config.role == "beside" else 0
        narrow = config.encoder_dim or hidden
        encoder = Encoder(g, latent, narrow, config.n_layers, beside(seen, narrow))
        n_layers = config.decoder_layers or config.n_layers
        return encoder, Decoder(latent, hidden, n_layers, g, beside(placed, hidden))

    @classmethod
    def build(
        cls, config: VaeConfig, cells: CellData, features: Features | None,
        rng: np.random.Generator, effect_width: int | None = None,
    ) -> Self:  # fmt: skip
        """Make an untrained model; sizes, scales and totals come from the training cells.

        Args:
            config: the settings.
            cells: the cells of a screen.
            features: of targets, where there are any.
            rng: draws the start.
            effect_width: width of the effects; by default that of the latent state.

        Raises:
            SchemaError: every training condition is a control.
        """
        profiles = cells.profiles
        names = sorted({t for c in conditions_of(profiles.conditions) for t in c.targets})
        if not names:
            message = "every training condition is a control; there is no effect to learn"
            raise SchemaError(message)
        one_hot = config.perturbations == "one_hot" or (
            config.perturbations == "auto" and features is None
        )
        encoder = PerturbationEncoder(
            Vocabulary(names, "target"), 1 if one_hot else config.embedding_dim, rng,
            features=None if one_hot else features,
            config=EncoderConfig(identity_dropout=config.identity_dropout),
        )  # fmt: skip
        seed = int(rng.integers(2**62))
        about = {
            "unit": profiles.unit, "store_unit": cells.store.unit,
            "contexts": sorted(set(profiles.contexts.tolist())),
            "readouts": list(cells.store.readouts), "batches": list(cells.store.batches),
            "encoder": encoder.plain(), "one_hot": one_hot, "seed": seed,
            "n_conditions": cells.store.conditions.height,
        }  # fmt: skip
        if effect_width is not None:
            about["effect_width"] = effect_width
        model = cls(config, about)
        model.targets = encoder
        if one_hot:
            encoder.requires_grad_(requires_grad=False)
        learn_scales(model, cells, rng)
        return model

    def encode(self, conditions: pl.DataFrame) -> dict[str, Tensor]:
        """Return the conditions as tensors with the first axis c.

        `targets` [c, k] holds positions of the known targets, -1 where there are fewer; `context`,
        `dose_um` and `time_h` are [c]; an unknown context is -1.
        """
        asked = conditions_of(conditions)
        encoded = self.targets.encode(asked)
        sizes = encoded.offsets.diff().cpu()
        most = max(1, int(sizes.max())) if len(sizes) else 1
        targets = torch.full((len(asked), most), -1, dtype=torch.int64)
        targets[torch.arange(most) < sizes[:, None]] = encoded.codes.cpu()
        context = torch.from_numpy(self.contexts.find([c.context for c in asked]))
        return {"targets": targets, "context": context,
                "dose_um": encoded.dose_um.cpu(), "time_h": encoded.time_h.cpu()}  # fmt: skip

    def statuses(self, conditions: pl.DataFrame) -> np.ndarray:
        """Return the status of each condition: seen, prior, neighbour or refused."""
        asked = conditions_of(conditions)
        statuses = np.array(self.targets.encode(asked).status, dtype="<U9")
        statuses[self.contexts.find([c.context for c in asked]) < 0] = "refused"
        return statuses

    def targets_of(self, rows: dict[str, Tensor]) -> Targets:
        """Return what the conditions are made of, with the encoder's vectors."""
        targets = rows["targets"]
        which = targets[targets >= 0].unique()
        member = (targets[:, :, None] == which).sum(1).float()
        member = member * self.dose(rows["dose_um"], rows["time_h"])[:, None]
        vectors = None
        if not self.one_hot:
            offsets = torch.arange(len(which) + 1, device=which.device)
            vectors = self.targets(which, offsets)
        return Targets(which, vectors, member)

    def transformed(self, x: Tensor) -> Tensor:
        """Return what the encoder sees of the cells' values, before it is standardized."""
        return torch.log1p(x) if self.store_unit == "counts" else x

    def _scored(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the likelihood is of, and each cell's library."""
        library = x.sum(-1).clamp_min(1.0)
        if self.store_unit == "counts" and not self.likelihood.counts:
            return torch.log1p(x * (1e4 / library)[:, None]), library
        return x, library

    def terms(self, batch: CellBatch, n_particles: int) -> Terms:
        """Return the parts of the bound; see `loss`."""
        codes, place = batch.condition.unique(return_inverse=True)
        rows = {k: v[codes] for k, v in batch.rows.items()}
        targets = self.targets_of(rows)
        drawn: Drawn = self.effect.draw(targets, n_particles)
        context = rows["context"].clamp_min(0)[place]
        failed = self.artefact.failed(batch.x) if self.artefact is not None else None
        artefact = self.artefact.draw(n_particles) if self.artefact is not None else None
        mean, log_var = self._posterior(batch.x, drawn.shift, place, (context, batch.batch),
                                        _flagged(artefact, failed))  # fmt: skip
        state = drawn_normal(mean, log_var, n_particles)
        if len(state) < n_particles:
            state = drawn_normal(mean.expand(n_particles, -1, -1), log_var, n_particles)
        prior = drawn.shift[:, place] if self.config.role == "prior" else 0.0
        cost = normal_kl(mean, log_var, prior).sum(-1)
        output = self._decoded(state, drawn.shift, place, (context, batch.batch),
                               _flagged(artefact, failed))  # fmt: skip
        value, library = self._scored(batch.x)
        fit = self.likelihood.log_prob(output, value, library)
        n_c = torch.bincount(place, minlength=len(codes)).float()
        share = (n_c @ (targets.member_cu > 0).float()) / self._cells_of(targets.which)
        of_artefact = fit.new_zeros(())
        if self.artefact is not None and failed is not None and artefact is not None:
            of_artefact = self._artefact_cost(batch, drawn, place, (context, artefact, failed))
        return Terms(fit, cost, share @ drawn.cost, of_artefact)

    def _cells_of(self, which: Tensor) -> Tensor:
        return self.cells_of_target[which.clamp_max(self.targets.n_trained - 1)]

    def _posterior(
        self, x: Tensor, shift: Tensor, place: Tensor, codes: tuple[Tensor, Tensor],
        artefact: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        beside = self.encoder.beside
        projected = self.encoder.from_cell((self.transformed(x) - self.centre) / self.spread)
        effect = beside.effect(shift)[:, place] if beside.effect is not None else None
        return self.encoder(projected, beside(*codes, effect, artefact))

    def _decoded(
        self, state: Tensor, shift: Tensor, place: Tensor, codes: tuple[Tensor, Tensor],
        artefact: Tensor | None,
    ) -> Tensor:  # fmt: skip
        beside = self.decoder.beside
        effect = beside.effect(shift)[:, place] if beside.effect is not None else None
        if self.config.role == "added":
            state = state + shift[:, place]
        return self.decoder(state, beside(*codes, effect, artefact))

    def _artefact_cost(
        self, batch: CellBatch, drawn: Drawn, place: Tensor, others: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Return the artefact's own divergence and that of the counterfactual, for the batch."""
        context, artefact, failed = others
        assert self.artefact is not None
        own = normal_kl(self.artefact.mean, self.artefact.log_var).sum()
        share = failed.sum() / self.artefact.n_failed
        profile, known = self.artefact.others(batch.condition, failed)
        flipped = _flagged(artefact, 1 - failed)
        codes = (context, batch.batch)
        told = self._posterior(batch.x, drawn.shift, place, codes, flipped)
        seen = self._posterior(profile, drawn.shift, place, codes, flipped)
        apart = normals_kl(*seen, *told).sum(-1).mean(0)
        apart = torch.where(known, apart, 0.0).sum()
        return share * own + self.config.counterfactual_weight * apart

    def loss(self, batch: CellBatch) -> Tensor:
        """Return the negative bound per cell, in nats; draws come from torch's generator."""
        return self._bound(self.terms(batch, self.config.n_particles), self.config.kl_weight)

    def validation_loss(self, batch: CellBatch) -> Tensor:
        """Return the negative bound per cell with every divergence at its full weight."""
        return self._bound(self.terms(batch, self.config.n_particles), 1.0)

    def _bound(self, terms: Terms, weight: float) -> Tensor:
        n = terms.reconstruction.shape[1]
        cell = terms.reconstruction - weight * terms.state_cost
        if self.config.objective == "iwelbo":
            value = cell.logsumexp(0) - float(np.log(len(cell)))
        else:
            value = cell.mean(0)
        return -value.mean() + (weight * terms.effect_cost + terms.artefact_cost) / n

    @torch.no_grad()
    def iwelbo(self, batch: CellBatch, n_particles: int = 100) -> Tensor:
        """Return the importance-weighted bound of each cell's log likelihood, [n].

        Effects are drawn once for each particle and not scored against their priors, as published.
        """
        codes, place = batch.condition.unique(return_inverse=True)
        rows = {k: v[codes] for k, v in batch.rows.items()}
        shift = self.effect.draw(self.targets_of(rows), 1).shift
        codes_n = (rows["context"].clamp_min(0)[place], batch.batch)
        flags = None
        if self.artefact is not None:
            flags = _flagged(self.artefact.draw(1), self.artefact.failed(batch.x))
        mean, log_var = self._posterior(batch.x, shift, place, codes_n, flags)
        value, library = self._scored(batch.x)
        prior = shift[:, place] if self.config.role == "prior" else torch.zeros(())
        weights = []
        for _ in range(n_particles):
            state = drawn_normal(mean, log_var, 1)
            fit = self.likelihood.log_prob(
                self._decoded(state, shift, place, codes_n, flags), value, library
            )
            under_q = -0.5 * (log_var + (state - mean) ** 2 * (-log_var).exp()).sum(-1)
            weights.append(fit - 0.5 * ((state - prior) ** 2).sum(-1) - under_q)
        return torch.cat(weights).logsumexp(0) - float(np.log(n_particles))

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict the mean of each condition in the unit of the profiles, without sampling."""
        return predict.responses(self, conditions)

    def predict_cells(
        self, conditions: pl.DataFrame, n: int, rng: np.random.Generator
    ) -> PredictedCells:
        """Draw `n` cells of each condition that is answered: counts where the cells are counts."""
        return predict.cells(self, conditions, n, rng)

    def state(self) -> State:
        """Return weights and totals, and vocabularies beside them."""
        arrays = {f"net.{k}": v.detach().cpu().numpy() for k, v in self.state_dict().items()}
        assert self.totals is not None
        totals, about = self.totals.state()
        arrays |= {f"totals.{k}": v for k, v in totals.items()}
        return arrays, {**self.about, "encoder": self.targets.plain(), "totals": about}

    @classmethod
    def restore(cls, config: VaeConfig, state: State) -> Self:
        """Rebuild a model from its state."""
        arrays, about = state
        model = cls(config, {k: v for k, v in about.items() if k != "totals"})
        net = {k[4:]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("net.")}
        model.load_state_dict(net)
        totals = {k[7:]: v for k, v in arrays.items() if k.startswith("totals.")}
        model.totals = Totals.restore(totals, about["totals"])
        return model.eval()


def _flagged(artefact: Tensor | None, failed: Tensor | None) -> Tensor | None:
    """Return the artefact of each cell, [s, n, width]: zero for cells that passed."""
    if artefact is None or failed is None:
        return None
    return artefact[:, None] * failed[:, None]
