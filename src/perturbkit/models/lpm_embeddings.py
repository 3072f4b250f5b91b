"""Embeddings that an LPM has learned, by name."""

from typing import Literal

import torch

from perturbkit.core.features import Features
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.lpm import Lpm


def embedding_table(model: Lpm, which: Literal["perturbation", "context", "readout"]) -> Features:
    """Return learned embeddings by name, for maps and nearest neighbours.

    A perturbation's embedding is what the network sees of it: identity and features together;
    targets that only features describe have one too.
    """
    with torch.no_grad():
        if which == "context":
            by_symbol = model.controls is None
            names = model.contexts if by_symbol else Vocabulary(model.trained, "context")
            return Features(names, model.context.weight.numpy(), "lpm_context")
        if which == "readout":
            return Features(model.readouts, model.readout.weight.numpy(), "lpm_readout")
        values = model.encoder.vectors()
    return Features(model.encoder.names, values.numpy(), "lpm_perturbation")
