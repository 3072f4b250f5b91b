"""Recipes, model names, TOML files and assignments all end in one checked Experiment."""

import json
from pathlib import Path

import pytest

from perturbkit.core.errors import ConfigError, UnknownNameError
from perturbkit.models import MODELS
from perturbkit.recipes.experiment import Experiment
from perturbkit.recipes.studies import RECIPES, resolve


@pytest.mark.parametrize("name", [*RECIPES, *MODELS])
def test_every_recipe_and_model_is_complete_and_survives_json(name: str) -> None:
    experiment = resolve(name, None, ())
    again = Experiment.parse(json.loads(json.dumps(experiment.plain())))
    assert again == experiment
    assert experiment.checked() == experiment
    assert experiment.card.name in MODELS


def test_published_recipes_have_the_published_numbers() -> None:
    k562 = resolve("lpm_replogle_k562", None, ())
    assert k562.model["embedding_dim"] == 32
    assert k562.model["hidden_dim"] == 512
    assert k562.model["aggregation"] == "mean"
    assert k562.train.learning_rate == 0.002
    assert k562.train.decay == 0.99
    assert k562.n_members == 5
    lincs = resolve("lpm_lincs", None, ())
    assert (lincs.model["embedding_dim"], lincs.model["hidden_dim"]) == (128, 256)
    assert (lincs.model["dropout"], lincs.train.decay) == (0.1, 0.97)


def test_assignments_do_not_reach_the_dictionary_they_are_laid_over() -> None:
    recipe = {"screen": {"source": "simulated", "options": {"n_genes": 60}}}
    experiment = resolve(recipe, None, ("screen.options.n_genes=80",))
    assert experiment.screen.options["n_genes"] == 80
    assert recipe == {"screen": {"source": "simulated", "options": {"n_genes": 60}}}


def test_toml_then_screen_then_assignments(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'seed = 3\n[screen]\nsource = "op3"\n[model]\nkind = "lpm"\nhidden_dim = 8\n'
        '[split]\nkind = "unseen_pair"\ncontexts = ["T"]\n'
    )
    experiment = resolve(path, "papalexi2021", ["model.hidden_dim=16", "train.n_epochs=2"])
    assert experiment.seed == 3
    assert experiment.screen.source == "papalexi2021"
    assert experiment.model["hidden_dim"] == 16
    assert experiment.split.contexts == ("T",)
    assert experiment.train.n_epochs == 2


def test_mistakes_name_the_path() -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden_dim: expected int, got 'wide'"):
        resolve("lpm", None, ["model.hidden_dim=wide"])
    with pytest.raises(ConfigError, match=r"train\.epochs: no setting named 'epochs'"):
        resolve("lpm", None, ["train.epochs=3"])
    with pytest.raises(UnknownNameError, match="no model named 'lmp'; did you mean 'lpm'"):
        resolve({"model": {"kind": "lmp"}}, None, ())
