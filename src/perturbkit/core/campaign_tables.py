"""What is checked of a campaign's tables: the pool, and results against the round they answer."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from perturbkit.core.condition import complete_table, condition_keys
from perturbkit.core.errors import FileError, SchemaError, unknown_name
from perturbkit.core.files import existing


def faults(found: Sequence[str], wanted: Sequence[str], pool: Sequence[str]) -> list[str]:
    """Say which conditions are unknown, not of this round, repeated or missing."""
    wrong, expected, seen = [], set(wanted), set()
    repeated = sorted({k for k in found if k in seen or seen.add(k)})
    strange = [k for k in dict.fromkeys(found) if k not in expected]
    missing = [k for k in wanted if k not in seen]
    if strange:
        hint = ""
        if strange[0] not in pool:
            hint = f" ({unknown_name('condition', strange[0], wanted)})"
        wrong.append(f"{len(strange)} not of this round: {_few(strange)}{hint}")
    if repeated:
        wrong.append(f"{len(repeated)} more than once: {_few(repeated)}")
    if missing:
        wrong.append(f"{len(missing)} missing: {_few(missing)}")
    return wrong


def _few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(keys[:5]) + more


def checked_pool(pool: pl.DataFrame) -> pl.DataFrame:
    """Return a pool with `key` and `cost`, or say what is wrong with it.

    Raises:
        SchemaError: empty, repeated conditions, the control, or costs not above 0.
    """
    table = complete_table(pool).drop("key", strict=False)
    keys = condition_keys(table)
    if not keys:
        message = "the pool is empty; list the conditions that may be chosen"
        raise SchemaError(message)
    if len(set(keys)) != len(keys):
        twice = next(k for k in keys if keys.count(k) > 1)
        message = f"{twice!r} is in the pool more than once; list each condition once"
        raise SchemaError(message)
    if any(k.startswith("control |") for k in keys):
        message = "the pool lists the control; leave it out, controls are added to every batch"
        raise SchemaError(message)
    if "cost" not in table.columns:
        table = table.with_columns(cost=pl.lit(1.0))
    cost = table["cost"].cast(pl.Float64, strict=False)
    if cost.null_count() or not (cost.is_finite() & (cost > 0)).all():
        message = "the pool has costs that are not numbers above 0; give each condition its cost"
        raise SchemaError(message)
    return table.with_columns(cost).insert_column(0, pl.Series("key", keys))


def read_csv(path: Path, schema: dict[str, type[pl.DataType]] | dict) -> pl.DataFrame:
    """Read a table a campaign wrote, its known columns in their types.

    Raises:
        FileError: it is missing or damaged.
    """
    try:
        known = {"key": pl.String, "cost": pl.Float64, **schema}
        table = pl.read_csv(existing(path), infer_schema_length=None)
        return table.with_columns(pl.col(c).cast(t) for c, t in known.items() if c in table.columns)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = f"{path} is damaged ({error}); restore it from a copy"
        raise FileError(message) from error
