"""How much of each tested condition was seen in training: GEARS' subgroups, for any split."""

import polars as pl

from perturbkit.core.condition import conditions_of
from perturbkit.core.errors import unknown_name
from perturbkit.data.splits.card import Split
from perturbkit.data.splits.draw import targets_of


def subgroups(conditions: pl.DataFrame, split: Split) -> list[str]:
    """Return a label for each condition, to stratify scores by (`Scores.by("subgroup")`).

    Tested conditions are `unseen_single`, `seen_single`, or `combo_seen0`, `combo_seen1`, ... by
    the number of their targets that occur in a perturbed condition of train or val. Conditions of
    other folds are called as their fold, and controls `control`.

    Args:
        conditions: a table with the columns of CONDITION_SCHEMA; put the labels beside it with
            `conditions.with_columns(subgroup=pl.Series(labels))`.
        split: the folds of at least the conditions trained on and of these.

    Raises:
        UnknownNameError: a condition is not in the split.
        SchemaError: a key of the split cannot be read.
    """
    where = dict(zip(split.keys, split.folds, strict=True))
    keys = pl.DataFrame(
        {
            "perturbation": [k.rpartition(" | ")[0] for k in split.keys],
            "context": [k.rpartition(" | ")[2] for k in split.keys],
        },
        schema={"perturbation": pl.String, "context": pl.String},
    )
    seen = set[str]()
    for condition, fold in zip(conditions_of(keys), split.folds, strict=True):
        if fold in ("train", "val"):
            seen |= targets_of(condition)
    labels = []
    for condition in conditions_of(conditions):
        if condition.key not in where:
            raise unknown_name("condition of the split", condition.key, where)
        fold, targets = where[condition.key], targets_of(condition)
        if condition.is_control:
            labels.append("control")
        elif fold != "test":
            labels.append(fold)
        elif len(targets) == 1:
            labels.append("seen_single" if targets <= seen else "unseen_single")
        else:
            labels.append(f"combo_seen{len(targets & seen)}")
    return labels
