"""Reduce cells to profiles in one streaming pass, whatever their number."""

from collections.abc import Sequence
from pathlib import Path

from perturbkit.core.errors import FileError
from perturbkit.core.files import require_space
from perturbkit.core.screen import Screen
from perturbkit.data.prepare.finish import PROFILES, finish
from perturbkit.data.prepare.settings import PrepareConfig as PrepareConfig
from perturbkit.data.prepare.sources import Plan as Plan
from perturbkit.data.prepare.sources import open_sources, plan
from perturbkit.data.prepare.stream import STATE, Watch, stream_cells


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


def prepare(
    paths: Sequence[str | Path],
    folder: str | Path,
    config: PrepareConfig,
    watch: Watch = _silent,
) -> Screen:
    """Filter and reduce the cells of one or several h5ad files, reading them once.

    Written to `folder`: `profiles.h5ad` (a Screen of profiles: mean, variance, fraction of cells
    expressing, split halves, and `knockdown` in obs), `batches.h5ad` (the same for each batch,
    where there are several), `de.parquet` (Welch's t against the control of the context) and
    `prepare.json` (what was left out and why). Memory stays below `config.max_memory_mb`; a run
    that was stopped goes on where it last saved when it is started again with the same settings.

    Args:
        paths: h5ad files of the same readouts, CSR or dense.
        folder: where to write; it must not hold a prepared screen.
        config: filters and limits.
        watch: called with what is done, how many cells, of how many.

    Returns:
        The Screen of profiles.

    Raises:
        FileError: a file is missing, damaged or stored by columns, or `folder` is taken.
        SchemaError: labels, controls or readouts are missing.
        UnitError: the unit is not stated, or the values cannot be in it.
        ConfigError: a setting is out of range, or the memory is too little.
    """
    folder = Path(folder)
    if (folder / PROFILES).exists():
        message = f"{folder} holds a prepared screen already; name another folder or remove it"
        raise FileError(message)
    sources = open_sources([Path(p) for p in paths], config)
    size = plan(sources, config)
    require_space(folder, 24 * len(sources.readouts) * (size.n_groups + 2 * size.n_conditions))
    folder.mkdir(parents=True, exist_ok=True)
    stats, counts = stream_cells(sources, config, size, folder, watch)
    screen = finish(stats, counts, sources, config, size, folder)
    (folder / STATE).unlink(missing_ok=True)
    return screen


def plan_of(paths: Sequence[str | Path], config: PrepareConfig) -> Plan:
    """Return what `prepare` would read and need, without reading the cells."""
    return plan(open_sources([Path(p) for p in paths], config), config)
