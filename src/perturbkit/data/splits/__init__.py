"""Ways to hold out conditions, `make_split`, which makes one, and the leakage check."""

import numpy as np
import polars as pl

from perturbkit.core.catalog import Catalog
from perturbkit.core.condition import conditions_of
from perturbkit.data.splits._cell_load import card as from_cell_load
from perturbkit.data.splits._covariate_transfer import card as covariate_transfer
from perturbkit.data.splits._gears_simulation import card as gears_simulation
from perturbkit.data.splits._unseen_combination import card as unseen_combination
from perturbkit.data.splits._unseen_context import card as unseen_context
from perturbkit.data.splits._unseen_pair import card as unseen_pair
from perturbkit.data.splits._unseen_perturbation import card as unseen_perturbation
from perturbkit.data.splits.card import FOLDS as FOLDS
from perturbkit.data.splits.card import Split as Split
from perturbkit.data.splits.card import SplitCard as SplitCard
from perturbkit.data.splits.card import SplitConfig as SplitConfig
from perturbkit.data.splits.make import check_from, make_from
from perturbkit.data.splits.subgroups import subgroups as subgroups

SPLITS = Catalog(SplitCard, globals())


def make_split(conditions: pl.DataFrame, config: SplitConfig, rng: np.random.Generator) -> Split:
    """Split the conditions of a table (of `Responses.conditions` or `Screen.conditions`).

    Controls are always in train. The split is checked for leaks before it is returned. With
    `config.folds`, the folds 0, 1, ... of equally seeded generators partition what can be held
    out.

    Args:
        conditions: a table with the columns of CONDITION_SCHEMA.
        config: the kind and its settings.
        rng: what is held out; equal generators give equal splits.

    Raises:
        UnknownNameError: no such kind or context.
        SchemaError: too few perturbations, combinations or contexts; says how many are needed.
        ConfigError: a setting that the kind does not use, or a fold that does not exist.
        LeakError: the split leaks, which would be a fault of the kind.
    """
    return make_from(SPLITS, conditions, config, rng)


def check_leakage(conditions: pl.DataFrame, split: Split, kind: str) -> None:
    """Refuse a split that lets held-out conditions into training.

    Looked at: controls outside train; the same target at another dose or time, in another
    context, in a combination or in other case; conditions that the split does not know.

    Args:
        conditions: a table with the columns of CONDITION_SCHEMA.
        split: the folds of at least these conditions.
        kind: the promise to check, a name in SPLITS.

    Raises:
        LeakError: a held-out condition is trained on, or a control is not.
        UnknownNameError: no such kind, or a condition without a fold.
    """
    check_from(SPLITS[kind], conditions_of(conditions), split)
