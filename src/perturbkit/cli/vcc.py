"""`perturbkit vcc`: submissions to the Virtual Cell Challenge, written, read back and scored."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Virtual Cell Challenge: write and score submissions.")

Submission = Annotated[Path, typer.Argument(help="A .prep.vcc file.")]


@app.command()
def prep(  # noqa: PLR0913
    predictions: Annotated[Path, typer.Argument(help="h5ad of predicted cells, with controls.")],
    *,
    genes: Annotated[
        Path,
        typer.Option(help="The challenge's genes in order: its CSV, or an h5ad such as training."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: beside it, as .prep.vcc.")
    ] = None,
    perturbation: Annotated[str, typer.Option(help="Column of targets.")] = "target_gene",
    control: Annotated[str, typer.Option(help="Label of the control cells.")] = "non-targeting",
    max_cells: Annotated[int, typer.Option(help="The most cells that are accepted.")] = 200_000,
    n_genes: Annotated[int, typer.Option(help="Genes of the challenge.")] = 18_080,
    total: Annotated[
        float | None,
        typer.Option(
            min=1, help="Normalize counts to this; default: their median, as the challenge."
        ),
    ] = None,
) -> None:
    """Write predicted cells as a submission, refusing what the official tool refuses."""
    from scipy import sparse

    from perturbkit.core.errors import FileError
    from perturbkit.data.read.h5ad import read_adata
    from perturbkit.metrics.vcc import log_normalized, write_submission

    target = out or predictions.with_name(f"{predictions.stem}.prep.vcc")
    if target.suffix != ".vcc":
        message = f"cannot write {target}: a submission is named .vcc, as pred.prep.vcc"
        raise FileError(message)
    names = _gene_list(genes, n_genes)
    adata = read_adata(predictions)
    if total is not None:
        matrix = sparse.csr_matrix(adata.X, dtype="float32")
        adata.X = log_normalized(matrix, "the predictions", total)
    write_submission(
        adata,
        target,
        genes=names,
        perturbation=perturbation,
        control=control,
        max_cells=max_cells,
        n_genes=n_genes,
    )
    typer.echo(f"{adata.n_obs:,} cells x {len(names):,} genes written to {target}")


@app.command()
def read(
    submission: Submission,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also unpack the cells to this h5ad.")
    ] = None,
) -> None:
    """Show what a submission holds, and unpack it."""
    from perturbkit.cli.tables import print_table
    from perturbkit.core.errors import FileError, SchemaError
    from perturbkit.core.files import atomic_path
    from perturbkit.metrics.vcc import CONTROL_LABEL, TARGET_COLUMN, read_submission

    if out is not None and out.suffix != ".h5ad":
        message = f"cannot write {out}: cells are unpacked to .h5ad"
        raise FileError(message)
    adata = read_submission(submission)
    if TARGET_COLUMN not in adata.obs:
        message = f"{submission} has no column {TARGET_COLUMN!r}; prepare it again"
        raise SchemaError(message)
    counts = adata.obs[TARGET_COLUMN].astype(str).value_counts()
    perturbed = counts.drop(CONTROL_LABEL, errors="ignore")
    about = {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "perturbations": len(perturbed),
        "control cells": int(counts.get(CONTROL_LABEL, 0)),
        "fewest cells of a perturbation": int(perturbed.min()) if len(perturbed) else 0,
    }
    print_table(submission.name, [{"what": k, "value": v} for k, v in about.items()])
    if out is not None:
        with atomic_path(out) as temporary:
            adata.write_h5ad(temporary)
        typer.echo(f"cells written to {out}")


@app.command()
def score(
    submission: Submission,
    *,
    truth: Annotated[Path, typer.Option(help="Measured cells, h5ad.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the table: .csv or .parquet.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="vcc, full or minimal; vcc2026 for raw counts on both sides.")
    ] = "vcc",
    compat: Annotated[
        str,
        typer.Option(
            help="Whose rules: cell-eval, the challenge's; or perturbkit: measured controls, no "
            "clipping, and counts that `prep --total 10000` wrote."
        ),
    ] = "cell-eval",
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and the halves.")] = 0,
) -> None:
    """Score a submission: the challenge's metrics and scaled score, by its rules by default."""
    from perturbkit.cli.foreign import score_file

    settings = {"profile": profile, "compat": compat}
    score_file(submission, truth, settings=settings, out=out, seed=seed)


def _gene_list(path: Path, n_genes: int) -> list[str]:
    """Return the genes of an h5ad, or the first column of a text file with or without a header."""
    from perturbkit.core.errors import FileError
    from perturbkit.core.files import existing

    file = existing(path, "gene list")
    if file.suffix == ".h5ad":
        import h5py

        from perturbkit.data.read.h5ad import require_hdf5
        from perturbkit.data.read.labels import read_readouts

        require_hdf5(file)
        try:
            with h5py.File(file, "r") as handle:
                return list(read_readouts(handle, str(file)))
        except (OSError, KeyError) as error:
            message = f"{file} is no whole h5ad file ({error}); copy it again"
            raise FileError(message) from error
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        message = f"{file} is not text; give the challenge's gene list as CSV, or an h5ad"
        raise FileError(message) from error
    names = [line.split(",")[0].strip().strip('"') for line in lines if line.strip()]
    headers = ("gene", "genes", "gene_name", "gene_names", "gene_symbol", "")
    one_more = len(names) == n_genes + 1
    return names[1:] if one_more and names[0].casefold() in headers else names
