"""From a name, a source and settings to features; from several features to one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes import EMBEDDINGS


def embed(name: str, source: Any, rng: np.random.Generator, **settings: Any) -> Features:
    """Return the features of one embedding of the catalogue.

    Args:
        name: its name in EMBEDDINGS.
        source: what its card takes: a Graph, a Screen, a path, or SMILES by name.
        rng: the source of randomness.
        settings: those of its config.

    Raises:
        UnknownNameError: no such embedding.
        ConfigError: an unknown setting.
    """
    card = EMBEDDINGS[name]
    return card.fn(source, card.config.parse(settings, where=f"embedding {name}"), rng)


def joined(parts: Sequence[Features]) -> Features:
    """Put features side by side over all their names, each source scaled to unit mean length.

    A name that one source lacks has zeros there, and a column for each source that says whether
    it had features, so that "not known" and "zero" differ.

    Raises:
        SchemaError: nothing to join.
    """
    if not parts:
        message = "no features to join; give at least one"
        raise SchemaError(message)
    names = Vocabulary(dict.fromkeys(n for p in parts for n in p.names), parts[0].names.kind)
    blocks = []
    for part in parts:
        place = part.names.find(names)
        here = place >= 0
        length = np.sqrt((part.values**2).sum(1).mean()) if len(part.names) else 1
        block = np.zeros((len(names), part.width + 1), np.float32)
        block[here, :-1] = part.values[place[here]] / max(float(length), 1e-9)
        block[:, -1] = here
        blocks.append(block)
    asked = {n for p in parts for n in p.missing}
    missing = tuple(sorted(n for n in asked if n not in names))
    label = " + ".join(p.name for p in parts if p.name)
    return Features(names, np.concatenate(blocks, axis=1), label, missing)
