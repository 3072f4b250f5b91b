"""The Experiment: every setting of a study, from the screen to the score, in one value."""

from typing import Any, Self

from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.data.splits.card import SplitConfig
from perturbkit.metrics import METRICS
from perturbkit.models import MODELS
from perturbkit.models.card import ModelCard
from perturbkit.models.from_file import model_card
from perturbkit.train.config import TrainConfig


class ScreenConfig(Config):
    """Which screen, and how to read it."""

    source: str = "simulated"
    """a name of `perturbkit list screens`, or a path"""
    unit: str | None = None
    """the unit of a file that does not say its own"""
    options: dict[str, Any] = Field(default_factory=dict)
    """further options of the reader or of the simulator"""


class ScoreConfig(Config):
    """How the run is judged."""

    metrics: tuple[str, ...] = ()
    """names of `perturbkit list metrics`; empty: the usual ones"""
    baselines: tuple[str, ...] = ()
    """models to fit beside this one; empty: every baseline that applies"""
    n_bootstrap: int = Field(default=1000, ge=100)
    """draws of the bootstrap over conditions"""


class Experiment(Config):
    """A whole study. The model's settings carry its catalogue name under `kind`."""

    seed: int = Field(default=0, ge=0)
    """seed of everything that is drawn"""
    n_members: int = Field(default=1, ge=1)
    """members of the ensemble"""
    features: str = "auto"
    """what is known of targets never seen: `auto`, `none`, `spectral:string`, `table:PATH`; see
    `side_information.features_for`"""
    screen: ScreenConfig = ScreenConfig()
    split: SplitConfig = SplitConfig(kind="auto")
    """which conditions are held out; `auto` takes `unseen_pair` where perturbations occur in
    several contexts, else `unseen_perturbation`"""
    model: dict[str, Any] = Field(default_factory=lambda: {"kind": "lpm"})
    train: TrainConfig = TrainConfig()
    score: ScoreConfig = ScoreConfig()

    @property
    def card(self) -> ModelCard:
        """The model's card, from the catalogue or from a user's file.

        Raises:
            UnknownNameError: no model of that name.
        """
        return model_card(str(self.model.get("kind", "lpm")))

    @property
    def model_config_(self) -> Config:
        """The model's hyper-parameters.

        Raises:
            ConfigError: an unknown or wrong setting, with its path.
        """
        settings = {k: v for k, v in self.model.items() if k != "kind"}
        return self.card.config.parse(settings, "model.")

    def checked(self) -> Self:
        """Return the experiment with the model's settings complete and every name checked.

        Raises:
            ConfigError: an unknown or wrong setting of the model.
            UnknownNameError: no such model, baseline or metric.
        """
        for name in self.score.baselines:
            _ = MODELS[name]
        for name in self.score.metrics:
            _ = METRICS[name]
        complete = {"kind": str(self.model.get("kind", "lpm")), **self.model_config_.plain()}
        return self.replace(model=complete)
