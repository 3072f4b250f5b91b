"""Scores split by what was seen in training."""

from dataclasses import replace

import polars as pl

from perturbkit.data.splits.card import Split
from perturbkit.data.splits.subgroups import subgroups
from perturbkit.metrics.score import Scores


def with_subgroups(scores: Scores, split: Split) -> Scores:
    """Put GEARS' subgroup beside each scored condition, for `Scores.by("subgroup")`.

    Raises:
        UnknownNameError: a condition is not in the split.
    """
    labels = pl.Series("subgroup", subgroups(scores.scored, split), dtype=pl.String)
    return replace(scores, scored=scores.scored.with_columns(labels))
