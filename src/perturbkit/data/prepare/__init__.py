"""Reduce cells to profiles in one streaming pass, whatever their number."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from perturbkit.core.condition import condition_table
from perturbkit.core.errors import FileError
from perturbkit.core.files import require_space
from perturbkit.core.screen import Screen
from perturbkit.data.de import Tests
from perturbkit.data.deseq import Replicates, deseq_tests, require_counts, require_pydeseq2
from perturbkit.data.prepare.finish import PROFILES, finish, write_tests
from perturbkit.data.prepare.ranks import stream_ranks
from perturbkit.data.prepare.settings import PrepareConfig as PrepareConfig
from perturbkit.data.prepare.sources import Plan as Plan
from perturbkit.data.prepare.sources import Sources, open_sources, plan
from perturbkit.data.prepare.stream import STATE, Watch, stream_cells, stream_sums
from perturbkit.data.read.h5ad import STAMP, read_adata
from perturbkit.data.stats import GroupStats


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
    where there are several), `de.parquet` (tests against the control of the context) and
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
    _require_able(sources, config)
    size = plan(sources, config)
    require_space(folder, 24 * len(sources.readouts) * (size.n_groups + 2 * size.n_conditions))
    folder.mkdir(parents=True, exist_ok=True)
    reduced = stream_cells(sources, config, size, folder, watch)
    tests = _tests(sources, config, size, reduced[0], folder, watch)
    finish(reduced, sources, config, size, folder, tests)
    del reduced, tests
    (folder / STATE).unlink(missing_ok=True)
    adata = read_adata(folder / PROFILES)
    return Screen.of(adata, level="profiles", unit=adata.uns[STAMP]["unit"])


def stream_de(
    paths: Sequence[str | Path],
    out: str | Path,
    config: PrepareConfig,
    watch: Watch = _silent,
) -> None:
    """Write differential expression of h5ad files of any size, reading them in chunks.

    The table is that of `differential_expression`; memory stays below `config.max_memory_mb`.

    Args:
        paths: h5ad files of the same readouts, CSR or dense.
        out: the Parquet file to write.
        config: filters, limits, and in `de` the tests.
        watch: called with what is done, how many cells, of how many.

    Raises:
        FileError: a file is missing, damaged or stored by columns, or the disk too small.
        SchemaError: labels, controls or readouts are missing.
        UnitError: the unit is not stated, or the values cannot be in it.
        ConfigError: a setting is out of range, or the memory is too little.
    """
    sources = open_sources([Path(p) for p in paths], config)
    _require_able(sources, config)
    size = plan(sources, config)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path(out).parent, prefix=".de-") as folder:
        reduced = stream_cells(sources, config, size, Path(folder), watch)
        tests = _tests(sources, config, size, reduced[0], Path(folder), watch)
        write_tests(reduced[0], sources, config, Path(out), tests)


def _tests(
    sources: Sources, config: PrepareConfig, size: Plan, stats: GroupStats, folder: Path,
    watch: Watch,
) -> Tests | None:  # fmt: skip
    """Return the tests that read the cells once more; None for Welch's, which do not."""
    if config.de == "wilcoxon":
        return stream_ranks(sources, config, size, stats.n_k, folder, watch)
    if config.de != "pydeseq2":
        return None
    sums = stream_sums(sources, config, size, watch)
    replicates = Replicates(sums, sources.condition_k, sources.batch_k)
    return deseq_tests(replicates, condition_table(sources.conditions))


def _require_able(sources: Sources, config: PrepareConfig) -> None:
    if config.de == "pydeseq2":
        require_counts(sources.unit)
        require_pydeseq2()


def plan_of(paths: Sequence[str | Path], config: PrepareConfig) -> Plan:
    """Return what `prepare` would read and need, without reading the cells."""
    return plan(open_sources([Path(p) for p in paths], config), config)
