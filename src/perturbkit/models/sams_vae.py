"""SAMS-VAE: a sparse set of latent mechanisms for each perturbation, added to the cell's state."""

from typing import Any, Literal

from pydantic import Field

from perturbkit.models.card import ModelCard
from perturbkit.models.vae.config import VaeConfig
from perturbkit.models.vae.effects import SparseAdditive, SparsePrior
from perturbkit.models.vae.model import CellVae


class SamsVaeConfig(VaeConfig):
    """Settings of the SAMS-VAE."""

    guide: Literal["mean_field", "correlated"] = "correlated"
    """whether the embedding's posterior knows the mask"""
    mask_prior: float = Field(default=0.1, gt=0, lt=1)
    """probability that a perturbation moves a latent dimension"""
    mask_concentration: float = Field(default=0.0, ge=0)
    """0: that probability is known; else each entry has its own, Beta with this concentration"""
    guide_dim: int = Field(default=128, ge=1)
    """width of the correlated guide's hidden layers"""
    guide_layers: int = Field(default=2, ge=1, le=8)
    """its hidden layers"""

    def effect(self, sizes: Any, generator: Any) -> Any:
        """Return masked embeddings."""
        return SparseAdditive(
            sizes, generator, SparsePrior(self.mask_prior, self.mask_concentration),
            self.guide == "correlated", self.guide_dim, self.guide_layers,
        )  # fmt: skip


card = ModelCard(
    name="sams_vae",
    summary="SAMS-VAE: sparse additive mechanism shifts with Bernoulli masks",
    source="Bereket & Karaletsos 2023, arXiv 2311.02794; own implementation from the equations",
    config=SamsVaeConfig,
    model=CellVae,
    trained=True,
    level="cells",
    train={"learning_rate": 2e-3, "batch_cells": 512, "weight_decay": 1e-6},
    predicts=frozenset({"combinations", "perturbations"}),
)
