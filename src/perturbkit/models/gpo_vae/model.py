"""GPO-VAE: the effects of perturbations are rows of a gene-by-gene network."""

from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from perturbkit import __version__
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import ModelCard, State
from perturbkit.models.cells import CellBatch, CellData, PredictedCells
from perturbkit.models.gpo_vae.evidence import ControlSplits, Evidence, evidence_of, singles_of
from perturbkit.models.gpo_vae.posterior import direct_effects
from perturbkit.models.gpo_vae.published import matched_distances, network_loss, penalty, reach
from perturbkit.models.vae.config import VaeConfig
from perturbkit.models.vae.effects import Role, SparseAdditive, SparsePrior
from perturbkit.models.vae.model import CellVae


class GpoVaeConfig(VaeConfig):
    """Settings of GPO-VAE; those of the head come first."""

    role: ClassVar[Role] = "beside"

    head: Literal["calibrated", "published"] = "calibrated"
    """what `.graph()` is: direct effects against control-control differences with probabilities
    and false discovery rates; or the logits of the mask, trained by the published loss"""
    n_responders: int = Field(default=50, ge=0)
    """readouts without a perturbation that are columns of the mask besides the perturbed genes"""
    mask_prior: float = Field(default=0.3, gt=0, lt=1)
    """probability of an entry of the mask"""
    guide_dim: int = Field(default=128, ge=1)
    """width of the embedding's guide"""
    guide_layers: int = Field(default=2, ge=1, le=8)
    """its hidden layers"""
    criterion: float = Field(default=0.8, ge=0)
    """published head: difference from the matched control at which a gene counts as changed"""
    network_weight: float = Field(default=100.0, ge=0)
    """published head: weight of the network loss"""
    penalty: float = Field(default=5.0, ge=0)
    """published head: weight of the mean probability of an edge"""
    hop: int = Field(default=5, ge=0, le=20)
    """published head: longest path of the network loss, less one edge"""

    def effect(self, sizes: Any, generator: Any) -> Any:
        """Return masked embeddings, a coordinate per gene."""
        return SparseAdditive(
            sizes, generator, SparsePrior(self.mask_prior), correlated=True,
            hidden=self.guide_dim, n_layers=self.guide_layers,
        )  # fmt: skip


class GpoVae(nn.Module):
    """A cell autoencoder whose effect D (E x M) has one coordinate per gene, so M is a network.

    Rows are perturbed targets, columns perturbed and strongly responding genes.

    Source:
        GPO-VAE (Kim et al. 2025) as equations, reference section 1. Deviations of the published
        head: one pass of the decoder, exact divergences, responders chosen on training cells.
        The calibrated head is our own: one matched control per cell measures its noise, and the
        published logits follow expression instead of regulation.
    """

    def __init__(self, config: GpoVaeConfig, about: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.about = config, about
        self.vae = CellVae(config, about["vae"])
        self.genes = Vocabulary(about["genes"], "gene")
        self.readouts = self.vae.readouts
        targets = list(self.vae.targets.names)[: self.vae.targets.n_trained]
        place = self.genes.find(targets)
        self.row_of_gene = np.full(len(self.genes), -1)
        self.row_of_gene[place[place >= 0]] = np.flatnonzero(place >= 0)
        n_free = int((self.row_of_gene < 0).sum())
        self.free_rows = nn.Parameter(torch.zeros(n_free, len(self.genes)))
        self.splits: ControlSplits | None = None
        self._distance: Tensor | None = None

    @classmethod
    def build(
        cls, config: GpoVaeConfig, cells: CellData, features: Features | None,
        rng: np.random.Generator,
    ) -> Self:  # fmt: skip
        """Make an untrained model, with the evidence of the training cells for its head.

        Raises:
            SchemaError: no perturbed gene is measured, or the cells are no counts.
        """
        if cells.store.unit != "counts":
            message = f"the cells are in {cells.store.unit}; GPO-VAE needs their counts"
            raise SchemaError(message)
        targets, kinds = singles_of(cells)
        known = sorted({t for t in targets if t and t in cells.store.readouts})
        if not known:
            message = (
                "no gene that was perturbed alone is among the readouts; a network of genes "
                "needs some: use sams_vae, or keep the perturbed genes when selecting readouts"
            )
            raise SchemaError(message)
        # responders are chosen before the width of the effects is known
        seed = int(rng.integers(2**62))
        probe = CellVae.build(config, cells, features, np.random.default_rng(seed), effect_width=1)
        assert probe.totals is not None
        splits = ControlSplits.of(cells, probe.totals, rng)
        about = {"contexts": list(probe.contexts), "readouts": list(probe.readouts),
                 "single_targets": targets, "kinds": kinds}  # fmt: skip
        theta = np.full(len(probe.readouts), START_THETA)
        evidence = evidence_of(probe.totals, splits, theta, about)
        genes = [*known, *_responders(evidence, set(known), config.n_responders)]
        vae = CellVae.build(
            config, cells, features, np.random.default_rng(seed), effect_width=len(genes)
        )
        model = cls(config, {**about, "genes": genes, "vae": vae.about})
        model.vae, model.splits = vae, splits
        if config.head == "published":
            place = cells.store.readouts.encode(genes)
            panel = cells.store.readouts.encode(known)
            model._distance = torch.from_numpy(matched_distances(cells, place, panel))
        return model

    def encode(self, conditions: pl.DataFrame) -> dict[str, Tensor]:
        """Return the conditions as tensors; see `CellVae.encode`."""
        return self.vae.encode(conditions)

    def statuses(self, conditions: pl.DataFrame) -> np.ndarray:
        """Return the status of each condition: seen, prior, neighbour or refused."""
        return self.vae.statuses(conditions)

    def loss(self, batch: CellBatch) -> Tensor:
        """Return the negative bound per cell, and for the published head the network's loss."""
        value = self.vae.loss(batch)
        if self.config.head == "calibrated" or self._distance is None:
            return value
        return value + self._network_loss(batch)

    def validation_loss(self, batch: CellBatch) -> Tensor:
        """Return the same as `loss`: the published head stops early on both parts."""
        return self.loss(batch)

    def _logits(self, targets: Any) -> Tensor:
        assert isinstance(self.vae.effect, SparseAdditive)
        return self.vae.effect.logits(targets)

    def _square(self) -> tuple[Tensor, Tensor]:
        """Return the logits of every trained target [p, n], and W of the genes [n, n]."""
        device = self.free_rows.device
        n_trained = self.vae.targets.n_trained
        rows = {
            "targets": torch.arange(n_trained, device=device)[:, None],
            "dose_um": torch.full((n_trained,), torch.nan, device=device),
            "time_h": torch.full((n_trained,), torch.nan, device=device),
        }
        logits = self._logits(self.vae.targets_of(rows))
        square = torch.empty(len(self.genes), len(self.genes), device=device)
        has_row = torch.from_numpy(self.row_of_gene >= 0).to(device)
        source = torch.from_numpy(self.row_of_gene[self.row_of_gene >= 0]).to(device)
        square = square.index_put((has_row.nonzero()[:, 0],), logits[source].to(square))
        return logits, square.index_put(((~has_row).nonzero()[:, 0],), self.free_rows)

    def _network_loss(self, batch: CellBatch) -> Tensor:
        config = self.config
        assert self._distance is not None
        assert batch.cells is not None
        logits, square = self._square()
        rows = reach(logits, square, config.hop)
        targets = batch.rows["targets"][batch.condition]
        of_cells = torch.where(
            (targets >= 0)[..., None], rows[targets.clamp_min(0)], rows.new_zeros(())
        ).sum(1)
        distance = self._distance.to(batch.x.device)[batch.cells]
        network = network_loss(of_cells, distance, config.criterion)
        return config.network_weight * network + config.penalty * penalty(square)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict the mean of each condition in the unit of the profiles."""
        return self.vae.predict(conditions)

    def predict_cells(
        self, conditions: pl.DataFrame, n: int, rng: np.random.Generator
    ) -> PredictedCells:
        """Draw cells of each condition."""
        return self.vae.predict_cells(conditions, n, rng)

    def graph(self) -> Graph:
        """Return the network: regulators are perturbed genes, everything measured a target.

        The calibrated head gives `weight` (probability x z-score), `sign` (+1: the source
        activates), `probability`, `fdr` and `effect` (log fold change under the perturbation).
        The published head gives the mask's probability as weight, no sign, no rate, and every
        pair of its genes: nothing in it says which are noise.
        """
        return self._published() if self.config.head == "published" else self._calibrated()

    def regulators(self) -> pl.DataFrame:
        """Say for each gene of the mask whether these data can tell what it regulates.

        `identified` is false for responders: without cells in which they are perturbed, what
        they regulate cannot be told from what responds along with them.
        """
        return pl.DataFrame({"gene": list(self.genes), "identified": self.row_of_gene >= 0})

    def evidence(self) -> Evidence:
        """Return total effects with the dispersions that training has found."""
        assert self.vae.totals is not None
        assert self.splits is not None
        theta = self.vae.likelihood.theta.detach().double().cpu().numpy()
        theta = np.clip(theta, 0.1, 1e4)
        return evidence_of(self.vae.totals, self.splits, theta, self.about)

    def _calibrated(self) -> Graph:
        evidence = self.evidence()
        direct = direct_effects(evidence)
        loss = np.where(evidence.gains_p, 1.0, -1.0)[:, None]
        weight = direct.probability * np.abs(evidence.z_pg)
        columns = {"probability": direct.probability, "fdr": direct.fdr, "effect": direct.effect}
        return _graph(
            (weight, np.sign(direct.effect) * loss), evidence.sources, evidence.readouts,
            "gpo_vae, calibrated head", columns,
        )  # fmt: skip

    @torch.no_grad()
    def _published(self) -> Graph:
        was_training = self.training
        self.eval()
        logits, _ = self._square()
        self.train(was_training)
        probability = torch.sigmoid(logits).cpu().numpy()
        sources = Vocabulary(list(self.vae.targets.names)[: len(probability)], "perturbation")
        return _graph(
            (probability, np.zeros_like(probability)), sources, self.genes,
            "gpo_vae, published head", {"probability": probability},
        )  # fmt: skip

    def state(self) -> State:
        """Return weights, totals and control splits, and names beside them."""
        arrays, about = self.vae.state()
        assert self.splits is not None
        arrays |= {f"splits.{k}": v for k, v in self.splits.state().items()}
        arrays["free_rows"] = self.free_rows.detach().cpu().numpy()
        return arrays, {**self.about, "vae": about}

    @classmethod
    def restore(cls, config: GpoVaeConfig, state: State) -> Self:
        """Rebuild a model from its state."""
        arrays, about = state
        model = cls(config, about)
        inner = {k: v for k, v in arrays.items() if not k.startswith(("splits.", "free_rows"))}
        model.vae = CellVae.restore(config, (inner, about["vae"]))
        splits = {k[7:]: v for k, v in arrays.items() if k.startswith("splits.")}
        model.splits = ControlSplits(**splits)
        with torch.no_grad():
            model.free_rows.copy_(torch.from_numpy(arrays["free_rows"]))
        return model.eval()


START_THETA = 5.0
"""inverse dispersion with which responders are chosen, before any is fitted"""
RESPONDS = 4.0
"""calibrated z-score at which a readout responds"""


def _responders(evidence: Evidence, known: set[str], most: int) -> list[str]:
    """Return the readouts that respond most strongly to any perturbation, most of them first."""
    strongest = np.abs(evidence.z_pg).max(0)
    order = np.argsort(-strongest, kind="stable")
    names = [evidence.readouts[int(g)] for g in order if strongest[g] > RESPONDS]
    return [n for n in names if n not in known][:most]


def _graph(
    scores: tuple[np.ndarray, np.ndarray], sources: Vocabulary, targets: Vocabulary, name: str,
    columns: dict[str, np.ndarray],
) -> Graph:  # fmt: skip
    """Return the pairs with a weight, strongest first, over all targets and sources."""
    weight, sign = scores
    nodes = Vocabulary([*targets, *(s for s in sources if s not in targets)], "node")
    row, column = nodes.encode(sources), nodes.encode(targets)
    weight = np.where(row[:, None] == column, 0.0, np.nan_to_num(weight))
    p, g = np.nonzero(weight > LEAST_WEIGHT)
    order = np.argsort(-weight[p, g], kind="stable")[:MOST_EDGES]
    p, g = p[order], g[order]
    return Graph(
        nodes, row[p], column[g], weight[p, g], sign[p, g], directed=True,
        provenance=Provenance(name=name, version=__version__),
        columns={k: v[p, g].astype(np.float32) for k, v in columns.items()},
    )  # fmt: skip


LEAST_WEIGHT = 1e-12
MOST_EDGES = 1_000_000
"""more is a matrix, not a network"""

card = ModelCard(
    name="gpo_vae",
    summary="GPO-VAE: latent perturbation effects as a gene network, with calibrated edges",
    source="Kim et al. 2025 (GPO-VAE), own implementation from the equations; head of our own",
    config=GpoVaeConfig,
    model=GpoVae,
    trained=True,
    level="cells",
    needs=frozenset({"counts"}),
    train={"learning_rate": 2e-3, "batch_cells": 512, "weight_decay": 1e-6},
    predicts=frozenset({"combinations", "perturbations"}),
)
