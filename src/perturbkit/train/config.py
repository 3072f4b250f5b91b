"""How long, how fast and how carefully a network is trained."""

from typing import Literal

from pydantic import Field

from perturbkit.core.config import Config


class TrainConfig(Config):
    """Settings of the training loop, the same for every network."""

    n_epochs: int = Field(default=20, ge=1)
    """passes over the data at most; early stopping may end sooner"""
    block_rows: int = Field(default=32, ge=1)
    """conditions in one block"""
    block_readouts: int = Field(default=512, ge=1)
    """readouts in one block"""
    batch_cells: int = Field(default=256, ge=1)
    """cells in one batch, for models of cells"""
    set_cells: int = Field(default=32, ge=1)
    """cells in one set at most, for models of sets of cells"""
    learning_rate: float = Field(default=4e-3, gt=0)
    """the highest learning rate of the schedule"""
    schedule: Literal["one_cycle", "exponential", "constant"] = "one_cycle"
    """`one_cycle`: linear warm-up, then cosine to 1 % of the peak; `exponential`: `decay` each
    epoch, as the published recipes do"""
    warmup: float = Field(default=0.15, ge=0, le=0.9)
    """share of the steps that the warm-up of `one_cycle` takes"""
    decay: float = Field(default=0.99, gt=0, le=1)
    """factor of each epoch under `exponential`"""
    weight_decay: float = Field(default=0.05, ge=0)
    """decoupled weight decay (AdamW)"""
    gradient_clip: float = Field(default=1.0, gt=0)
    """largest norm of the gradient"""
    accumulate: int = Field(default=1, ge=1)
    """blocks whose gradients are averaged before one step, on each process"""
    patience: int = Field(default=4, ge=0)
    """evaluations without improvement before training stops; 0 trains to the end"""
    evaluate_every: int = Field(default=1, ge=1)
    """epochs between evaluations on the validation conditions"""
    average: float = Field(default=0.0, ge=0, lt=1)
    """decay of the running average of the weights that is evaluated and kept (0.999 is usual); 0
    keeps the weights themselves"""
    keep: Literal["best", "last"] = "best"
    """which weights to keep: those of the best evaluation, or the last"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` takes bfloat16 where the processor computes in it"""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """time between checkpoints; 0 writes one after every step"""
