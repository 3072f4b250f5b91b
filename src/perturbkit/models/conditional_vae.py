"""Conditional VAE: encoder and decoder are told the perturbation."""

from typing import Any, ClassVar

from perturbkit.models.card import ModelCard
from perturbkit.models.vae.config import VaeConfig
from perturbkit.models.vae.effects import Embedded, Role
from perturbkit.models.vae.model import CellVae


class ConditionalVaeConfig(VaeConfig):
    """Settings of the conditional VAE."""

    role: ClassVar[Role] = "beside"

    def effect(self, sizes: Any, generator: Any) -> Any:
        """Return free embeddings."""
        return Embedded(sizes, generator)


card = ModelCard(
    name="conditional_vae",
    summary="conditional VAE: the perturbation stands beside the latent state",
    source="Sohn et al. 2015 as in arXiv 2311.02794",
    config=ConditionalVaeConfig,
    model=CellVae,
    trained=True,
    level="cells",
    train={"learning_rate": 2e-3, "batch_cells": 512, "weight_decay": 1e-6},
    predicts=frozenset({"combinations", "perturbations"}),
)
