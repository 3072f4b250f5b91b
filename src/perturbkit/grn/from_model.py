"""Networks that a model has learned: anything that offers `.graph()`."""

from typing import Protocol, runtime_checkable

from perturbkit.core.errors import ConfigError
from perturbkit.core.graph import Graph


@runtime_checkable
class LearnsGraph(Protocol):
    """A model whose parameters are a network."""

    def graph(self) -> Graph:
        """Return the network, signs and probabilities where the model has them."""
        ...


def from_model(model: object) -> Graph:
    """Return the network a fitted model has learned.

    Raises:
        ConfigError: the model learns none.
    """
    if not isinstance(model, LearnsGraph):
        message = (
            f"{type(model).__name__} learns no network; explain the screen itself with a method "
            "of `perturbkit list grn_methods`, or fit a model that learns one"
        )
        raise ConfigError(message)
    return model.graph()
