"""What the family of splits promises: settings, the card, and the Split itself."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.catalog import Card
from perturbkit.core.condition import Condition
from perturbkit.core.config import Config
from perturbkit.core.errors import FileError, SchemaError, unknown_name
from perturbkit.core.files import atomic_path, existing
from perturbkit.core.responses import Responses

Fold = Literal["train", "val", "test", "dropped"]
FOLDS: tuple[str, ...] = get_args(Fold)


class SplitConfig(Config):
    """How conditions are held out."""

    kind: str = "unseen_pair"
    """the name of a split: `perturbkit list splits`"""
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """share of what can be held out that is tested; not used when `folds` is set, nor by splits
    that say their shares otherwise"""
    val: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """share of the rest that early stopping looks at; 0 for none"""
    contexts: tuple[str, ...] = ()
    """the contexts to hold out (in); by default any"""
    folds: Annotated[int, Field(ge=2)] | None = None
    """number of folds of a cross-validation, each condition tested in exactly one"""
    fold: Annotated[int, Field(ge=0)] = 0
    """which of the folds is tested, from 0"""
    seen_singles: bool = True
    """unseen_combination: test only combinations whose every single is measured"""
    train_gene_share: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """gears_simulation: share of the genes, and of combinations of these, that is trained on"""
    min_train_covariates: Annotated[int, Field(ge=1)] = 1
    """covariate_transfer: in how many contexts a held-out perturbation is trained at least"""
    max_heldout_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """covariate_transfer: share of a context's perturbations that is tested at most"""
    file: str = ""
    """cell_load: path of the TOML file"""
    dataset: str = ""
    """cell_load: which of the file's data sets the screen is, where it names several"""


OWN_SETTINGS = ("contexts", "seen_singles", "train_gene_share", "min_train_covariates",
                "max_heldout_fraction", "file", "dataset")  # fmt: skip
"""Settings that only some splits read; a split that does not refuses them."""
SplitFn = Callable[[Sequence[Condition], SplitConfig, np.random.Generator], np.ndarray]
"""`(conditions without controls, config, rng) -> folds`, an array of names in FOLDS"""


@dataclass(frozen=True, kw_only=True)
class SplitCard(Card):
    """A way to hold out conditions."""

    fn: SplitFn
    """chooses the fold of each condition"""
    leaks: Callable[[Sequence[Condition], np.ndarray], str]
    """`(conditions without controls, folds) -> ` what leaks, in words; empty if nothing does"""
    uses: frozenset[str] = frozenset()
    """settings beyond the common ones that it reads, names in `OWN_SETTINGS`"""
    takes_fraction: bool = True
    """whether it reads `fraction`"""


@dataclass(frozen=True, eq=False)
class Split:
    """Which fold each condition is in: `train`, `val`, `test` or `dropped` (in none of them)."""

    keys: tuple[str, ...]
    """keys of the conditions, as `core.condition.condition_keys` writes them"""
    folds: tuple[str, ...]
    """fold of each, one of FOLDS"""

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.folds):
            message = f"{len(self.keys)} keys and {len(self.folds)} folds; there is one for each"
            raise SchemaError(message)
        unknown = set(self.folds) - set(FOLDS)
        if unknown:
            raise unknown_name("fold", sorted(unknown)[0], FOLDS)
        if len(set(self.keys)) != len(self.keys):
            twice = Counter(self.keys).most_common(1)[0][0]
            message = f"condition {twice!r} occurs more than once in the split; keep one"
            raise SchemaError(message)

    def rows(self, responses: Responses, *folds: str) -> np.ndarray:
        """Return the positions of the responses in these folds, in their order.

        Raises:
            UnknownNameError: a fold or a condition of the responses is not in the split.
        """
        for name in folds:
            if name not in FOLDS:
                raise unknown_name("fold", name, FOLDS)
        where = dict(zip(self.keys, self.folds, strict=True))
        for key in responses.keys:
            if key not in where:
                raise unknown_name("condition of the split", key, where)
        return np.array([i for i, k in enumerate(responses.keys) if where[k] in folds], np.int64)

    def counts(self) -> dict[str, int]:
        """Return the number of conditions in each fold."""
        return {name: self.folds.count(name) for name in FOLDS}

    def save(self, path: str | Path) -> None:
        """Write a parquet file with the columns `key` and `fold`, atomically."""
        with atomic_path(path) as temporary:
            pl.DataFrame({"key": self.keys, "fold": self.folds}).write_parquet(temporary)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            FileError: missing, cut short or without the columns.
            UnknownNameError: a fold has another name.
        """
        file = existing(path, "split file")
        try:
            table = pl.read_parquet(file, columns=["key", "fold"])
        except (pl.exceptions.PolarsError, OSError) as error:
            message = f"{file} is not a whole split file ({error}); make the split again"
            raise FileError(message) from error
        return cls(tuple(table["key"].cast(pl.String)), tuple(table["fold"].cast(pl.String)))
