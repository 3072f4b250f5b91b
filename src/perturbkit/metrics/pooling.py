"""Scores of several folds as one."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from perturbkit.core.errors import SchemaError
from perturbkit.metrics.bootstrap import draw_weights
from perturbkit.metrics.score import Scores


def joined(parts: Sequence[Scores], rng: np.random.Generator, n_bootstrap: int = 1000) -> Scores:
    """Join the scores of folds, condition by condition; intervals are drawn anew over all.

    A model that a fold does not have is NaN there, with that reason.

    Raises:
        SchemaError: no fold, or folds scored by different metrics.
    """
    if not parts or any(p.cards != parts[0].cards for p in parts):
        message = "folds were scored by different metrics, or there is none; score them alike"
        raise SchemaError(message)
    keys = dict.fromkeys(key for part in parts for key in part.values)
    values, reasons = {}, {}
    for key in keys:
        held, why = [], []
        for part in parts:
            n = part.scored.height
            held.append(part.values.get(key, np.full(n, np.nan)))
            why += part.reasons.get(key, ["does not apply in this fold"] * n)
        values[key], reasons[key] = np.concatenate(held), why
    scored = pl.concat([part.scored for part in parts])
    weights = draw_weights(scored["perturbation"].to_numpy().astype(str), n_bootstrap, rng)
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    return Scores(values, reasons, parts[0].cards, scored, weights, notes)
