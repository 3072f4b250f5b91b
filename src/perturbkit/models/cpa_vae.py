"""CPA-VAE: the effect of a perturbation is added to the cell's latent state."""

from typing import Any

from perturbkit.models.card import ModelCard
from perturbkit.models.vae.config import VaeConfig
from perturbkit.models.vae.effects import Additive
from perturbkit.models.vae.model import CellVae


class CpaVaeConfig(VaeConfig):
    """Settings of the CPA-VAE."""

    def effect(self, sizes: Any, generator: Any) -> Any:
        """Return embeddings with a normal prior."""
        return Additive(sizes, generator)


card = ModelCard(
    name="cpa_vae",
    summary="CPA-VAE: perturbation embeddings added to the latent state",
    source="Lotfollahi et al. 2023 in the probabilistic form of arXiv 2311.02794",
    config=CpaVaeConfig,
    model=CellVae,
    trained=True,
    level="cells",
    train={"learning_rate": 2e-3, "batch_cells": 512, "weight_decay": 1e-6},
    predicts=frozenset({"combinations", "perturbations"}),
)
