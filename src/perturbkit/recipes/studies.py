"""Named studies: plain settings that `perturbkit fit NAME` starts from."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perturbkit.core.catalog import Card, Catalog
from perturbkit.core.config import merge, read_toml, set_value
from perturbkit.core.errors import UnknownNameError, unknown_name
from perturbkit.models import MODELS
from perturbkit.models.from_file import model_card
from perturbkit.recipes.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class RecipeCard(Card):
    """A study with a name."""

    settings: Callable[[], dict[str, Any]]
    """returns what differs from the defaults of Experiment"""


def _held_out(target: str) -> dict[str, Any]:
    """Return the split of the paper: 15 and 15 % of the perturbations of the target context."""
    return {"kind": "unseen_pair", "contexts": [target], "fraction": 0.15, "val": 0.15 / 0.85}


def _lpm_published(
    learning_rate: float, decay: float, shape: tuple[int, int, float], screen: dict[str, Any],
    target: str,
) -> Any:  # fmt: skip
    width, hidden, dropout = shape
    return {
        "screen": screen,
        "split": _held_out(target),
        "n_members": 5,
        "features": "none",
        "model": {
            "kind": "lpm", "embedding_dim": width, "hidden_dim": hidden, "n_layers": 2,
            "dropout": dropout, "aggregation": "mean", "base": "none", "embedding_scale": 1.0,
            "products": 0, "row_hidden": 0, "warm_start": False,
        },
        "train": {
            "n_epochs": 50, "learning_rate": learning_rate, "schedule": "exponential",
            "block_rows": 20, "block_readouts": 250 if hidden == 512 else 50,
            "decay": decay, "weight_decay": 0.01, "gradient_clip": 1e9, "patience": 0,
        },
    }  # fmt: skip


_REPLOGLE = {"source": "replogle2022_essential"}
_LINCS = {"source": "lincs_l1000", "options": {"dose_um": 10.0, "time_h": 24.0}}
"""The compounds of LINCS; the paper has its CRISPR knock-outs as further contexts"""

lpm_replogle_k562 = RecipeCard(
    name="lpm_replogle_k562",
    summary="the LPM as published for Replogle K562: five seeds, 50 epochs",
    source="perturb-gym, replogle_k562_paper_lpm",
    settings=lambda: _lpm_published(0.002, 0.99, (32, 512, 0.0), _REPLOGLE, "K562"),
)
lpm_replogle_rpe1 = RecipeCard(
    name="lpm_replogle_rpe1",
    summary="the LPM as published for Replogle RPE1: five seeds, 50 epochs",
    source="perturb-gym, replogle_rpe1_paper_lpm",
    settings=lambda: _lpm_published(0.005, 0.99, (32, 512, 0.0), _REPLOGLE, "RPE1"),
)
lpm_lincs = RecipeCard(
    name="lpm_lincs",
    summary="the LPM as published for LINCS L1000: five seeds, 50 epochs",
    source="perturb-gym, lincs_paper_lpm",
    settings=lambda: _lpm_published(0.002, 0.97, (128, 256, 0.1), _LINCS, "HT29"),
)


def _gpo_vae(source: str, latent: int, criterion: float, penalty: float) -> Any:
    wide = source == "adamson2016"
    return {
        "features": "none",
        "screen": {"source": source},
        "model": {
            "kind": "gpo_vae", "head": "published", "latent_dim": latent,
            "encoder_dim": 400 if wide else 200, "hidden_dim": 400, "decoder_layers": 2,
            "guide_dim": 400, "guide_layers": 4, "mask_prior": 0.3, "n_particles": 5,
            "perturbations": "one_hot", "criterion": criterion, "penalty": penalty,
            "network_weight": 100.0, "hop": 5, "artefact": "quality",
            "counterfactual_weight": 0.1, "residual": False,
        },
        "train": {
            "n_epochs": 2000, "batch_cells": 512, "learning_rate": 3e-4, "schedule": "constant",
            "weight_decay": 1e-6, "gradient_clip": 100.0, "patience": 30,
        },
    }  # fmt: skip


gpo_vae_k562 = RecipeCard(
    name="gpo_vae_k562",
    summary="GPO-VAE with the published head and settings for Replogle K562",
    source="Kim et al. 2025, configuration of the replogle set",
    settings=lambda: _gpo_vae("replogle2022_k562", 100, 0.8, 5.0),
)
gpo_vae_rpe1 = RecipeCard(
    name="gpo_vae_rpe1",
    summary="GPO-VAE with the published head and settings for Replogle RPE1",
    source="Kim et al. 2025, configuration of the rpe1 set",
    settings=lambda: _gpo_vae("replogle2022_rpe1", 200, 0.5, 10.0),
)
gpo_vae_adamson = RecipeCard(
    name="gpo_vae_adamson",
    summary="GPO-VAE with the published head and settings for Adamson 2016",
    source="Kim et al. 2025, configuration of the adamson set",
    settings=lambda: _gpo_vae("adamson2016", 100, 0.4, 1.0),
)

RECIPES = Catalog(RecipeCard, globals(), "recipe")


def resolve(
    recipe: str | Path | dict[str, Any] | Experiment,
    screen: str | Path | None,
    settings: tuple[str, ...] | list[str],
) -> Experiment:
    """Return the whole, checked experiment of a recipe, a model, a TOML file or plain settings.

    Args:
        recipe: what to start from.
        screen: a screen's name or path, laid over the recipe's.
        settings: `path.to.key=value` assignments, laid over both.

    Raises:
        ConfigError: unknown or wrong settings.
        UnknownNameError: neither recipe nor model nor file.
        FileError: the TOML file is missing.
    """
    values = _plain(recipe)
    kind = str(values.get("model", {}).get("kind", "lpm"))
    if kind in MODELS or kind.endswith(".py"):
        values = merge({"train": dict(model_card(kind).train)}, values)
    if screen is not None:
        values = merge(values, {"screen": {"source": str(screen)}})
    for assignment in settings:
        set_value(values, assignment)
    return Experiment.parse(values).checked()


def _plain(recipe: str | Path | dict[str, Any] | Experiment) -> dict[str, Any]:
    if isinstance(recipe, Experiment):
        return recipe.plain()
    if isinstance(recipe, dict):
        return deepcopy(recipe)  # assignments are not to reach the caller's dictionary
    name = str(recipe)
    if name in RECIPES:
        return RECIPES[name].settings()
    if name in MODELS or name.endswith(".py"):
        return {"model": {"kind": name}}
    if isinstance(recipe, Path) or name.endswith(".toml"):
        return read_toml(recipe)
    error = unknown_name("recipe or model", name, [*RECIPES, *MODELS])
    message = f"{error}; or name a .toml file"
    raise UnknownNameError(message)
