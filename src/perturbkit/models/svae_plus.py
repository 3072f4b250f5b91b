"""SVAE+: a perturbation moves the prior of a sparse set of latent dimensions."""

from typing import Any, ClassVar

from pydantic import Field

from perturbkit.models.card import ModelCard
from perturbkit.models.vae.config import VaeConfig
from perturbkit.models.vae.effects import MovedPrior, Role
from perturbkit.models.vae.model import CellVae


class SvaePlusConfig(VaeConfig):
    """Settings of the SVAE+."""

    role: ClassVar[Role] = "prior"
    encoder_sees_effect: ClassVar[bool] = False

    mask_k: float = Field(default=5.0, ge=1)
    """k of the Beta(1, k) prior of each entry of the mask; larger is sparser"""

    def effect(self, sizes: Any, generator: Any) -> Any:
        """Return masked means of the prior."""
        return MovedPrior(sizes, generator, self.mask_k)


card = ModelCard(
    name="svae_plus",
    summary="SVAE+: sparse shifts of the latent prior's mean",
    source="Lopez et al. 2023, arXiv 2211.03553, as in arXiv 2311.02794; combinations add",
    config=SvaePlusConfig,
    model=CellVae,
    trained=True,
    level="cells",
    train={"learning_rate": 2e-3, "batch_cells": 512, "weight_decay": 1e-6},
    predicts=frozenset({"combinations", "perturbations"}),
)
