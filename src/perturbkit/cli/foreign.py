"""`perturbkit score PREDICTIONS --truth REAL`: anyone's predictions, scored."""

import contextlib
import sys
from pathlib import Path

import typer


def score_file(
    predictions: Path,
    truth: Path,
    *,
    settings: dict[str, str],
    out: Path | None = None,
    seed: int = 0,
) -> None:
    """Score a file of predictions against measured cells or means.

    Args:
        predictions: h5ad, .prep.vcc, CSV, TSV or Parquet; cells or means by condition.
        truth: the measurements, of the same kinds, controls among them.
        settings: `ForeignOptions` that were stated: perturbation, control, context, unit, profile,
            compat.
        out: where to write the table, .csv or .parquet.
        seed: of the bootstrap and the halves.

    Raises:
        FileError: a file cannot be read, or `out` has another ending.
        typer.Exit: code 1 where a metric could not be computed; its reason is in the table.
    """
    from perturbkit.cli.tables import print_table
    from perturbkit.core.errors import FileError
    from perturbkit.core.files import atomic_path
    from perturbkit.core.rng import named_rng
    from perturbkit.metrics.foreign import ForeignOptions, score_foreign

    if out is not None and out.suffix not in (".csv", ".parquet"):
        message = f"cannot write {out}: the table is written as .csv or .parquet"
        raise FileError(message)
    _clusters_without_plots()
    options = ForeignOptions.parse({k: v for k, v in settings.items() if v}, "score")
    scores = score_foreign(predictions, truth, options, rng=named_rng(seed, "score"))
    if out is not None:
        with atomic_path(out) as temporary:
            if out.suffix == ".parquet":
                scores.table.write_parquet(temporary)
            else:
                scores.table.write_csv(temporary)
    columns = ["metric", "value", "low", "high", "baseline", "ceiling", "reason"]
    print_table(
        "scores, mean over perturbations [95 % interval]",
        scores.table.select(columns).to_dicts(),
    )
    for note in scores.notes:
        typer.echo(f"note: {note}")
    if not scores.complete:
        typer.echo("some metrics could not be computed; see their reason", err=True)
        raise typer.Exit(1)


def _clusters_without_plots() -> None:
    """Import igraph, where it is installed, without the matplotlib it would take along.

    Scoring draws nothing; matplotlib costs half a second and 40 MB.
    """
    if "matplotlib" in sys.modules or "igraph" in sys.modules:
        return
    sys.modules["matplotlib"] = None  # pyright: ignore[reportArgumentType]
    try:
        with contextlib.suppress(ImportError):
            import igraph  # noqa: F401
    finally:
        del sys.modules["matplotlib"]
