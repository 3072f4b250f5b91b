"""Hyper-parameters of the Large Perturbation Model."""

from typing import Literal

from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.models.base import BaseKind


class LpmConfig(Config):
    """Hyper-parameters of the LPM; sizes known from data come by `build`."""

    embedding_dim: int = Field(default=32, ge=1)
    """width of the context, perturbation and readout embeddings"""
    hidden_dim: int = Field(default=64, ge=1)
    """width of the hidden layers"""
    n_layers: int = Field(default=1, ge=0, le=16)
    """number of hidden layers"""
    products: int = Field(default=16, ge=0)
    """inner products of condition and readout that the first layer sees (published: 0)"""
    product_rank: int = Field(default=16, ge=1)
    """width of the vectors of these products"""
    row_hidden: int = Field(default=256, ge=0)
    """width of a residual layer that joins context and perturbation (published: 0, none)"""
    warm_start: bool = True
    """whether embeddings start from leading directions of the training set (published: random)"""
    loss: Literal["squared", "huber"] = "squared"
    """of the standardized residual; `huber` turns linear beyond one standard deviation"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """probability of dropping a hidden unit"""
    aggregation: Literal["mean", "sum", "max"] = "sum"
    """how the embeddings of a combination's targets are joined (published: mean)"""
    identity_dropout: float = Field(default=0.3, ge=0, lt=1)
    """probability of hiding a target's own symbol while training, where it has features, so
    that the features learn to stand for targets that were never seen"""
    base: BaseKind = "auto"
    """the closed-form model whose error the network learns; `none` is the published model"""
    context_from: Literal["symbol", "control"] = "symbol"
    """what stands for a context: a vector of its own, or the vectors of the training contexts
    that its control profile resembles, so that a context never seen has one too"""
    slopes: bool = True
    """whether the base's deviation from the context's mean is weighed readout by readout"""
    embedding_scale: float = Field(default=0.3, gt=0)
    """standard deviation of the embeddings at the start (published: 1)"""
