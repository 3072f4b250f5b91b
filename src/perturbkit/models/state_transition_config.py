"""Settings of STATE's transition model."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from perturbkit.core.config import Config


class StateTransitionConfig(Config):
    """Hyper-parameters; sizes known from data come by `build`."""

    d_model: int = Field(default=64, ge=4)
    """width of a cell's vector"""
    n_heads: int = Field(default=4, ge=1)
    """attention heads"""
    d_hid: int = Field(default=128, ge=4)
    """width of the feed-forward layers"""
    n_layers: int = Field(default=2, ge=1)
    """transformer layers; cells of a set see each other"""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """share of hidden values set to zero while training"""
    rank: int = Field(default=32, ge=1)
    """directions of readouts that the network's part is made of"""
    loss: Literal["energy", "sinkhorn", "mmd", "counts"] = "energy"
    """what compares predicted and measured sets; `counts` is the negative-binomial likelihood of
    the molecules, which also learns the dispersions that the decoder of counts draws with"""
    mean_weight: float = Field(default=1.0, ge=0)
    """weight of the squared difference of the sets' means"""
    base: Literal["relative_effects", "none"] = "relative_effects"
    """the closed-form change that cells are moved by before the network adds its part; `none` is
    the published model"""
    decoder: Literal["counts", "moved"] = "moved"
    """how predicted cells are drawn: as the network moves them, or with whole counts (negative
    binomial), which lies a little farther from measured cells in energy distance"""
    draw: Literal["random", "representative"] = "random"
    """which control cells are moved: independent draws, or a set that lies near all of them, which
    is no sample to test hypotheses on"""
    confidence: bool = False
    """whether a token of each set foretells its loss"""
    graph_config: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """networks by name, as STATE's users write them: `{"string": {"type": "string", "args":
    {"confidence": 0.7}}}`"""
    graph_folder: str = ""
    """where the networks' files are; by default `graphs` of PERTURBKIT_DATA, or the downloads"""
    n_controls: int = Field(default=1024, ge=2)
    """control cells kept of each context at most"""
    identity_dropout: float = Field(default=0.3, ge=0, lt=1)
    """probability of hiding a target's own vector while training, where more is known of it"""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.n_heads:
            message = f"d_model ({self.d_model}) is not a multiple of n_heads ({self.n_heads})"
            raise ValueError(message)
        return self
