"""A model of the catalogue by its name, or a user's own by the path of its file."""

import importlib.util
import sys
from pathlib import Path

from perturbkit.core.errors import ConfigError
from perturbkit.core.files import existing, sha256
from perturbkit.models import MODELS
from perturbkit.models.card import ModelCard


def model_card(kind: str) -> ModelCard:
    """Return a card of the catalogue, or of a Python file that ends in its `card`.

    Reading a file runs it, as an import does: name only files that you trust.

    Raises:
        UnknownNameError: no model of that name.
        FileError: no such file.
        ConfigError: the file has no card, or fails.
    """
    return card_in(Path(kind)) if kind.endswith(".py") else MODELS[kind]


def card_in(path: Path) -> ModelCard:
    """Run a Python file and return its `card`; see `model_card`."""
    file = existing(path, "model file")
    name = f"perturbkit_user_model_{sha256(file)[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            message = f"{file} is not a Python file; name one that ends in .py"
            raise ConfigError(message)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # pydantic and dataclasses look their classes up there
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, (ImportError, SyntaxError, NameError, TypeError)):
                raise
            message = f"{file} cannot be read as a model: {type(error).__name__}: {error}"
            raise ConfigError(message) from error
    card = getattr(sys.modules[name], "card", None)
    if not isinstance(card, ModelCard):
        message = f"{file} has no `card` of type perturbkit.models.card.ModelCard; end it in one"
        raise ConfigError(message)
    return card
