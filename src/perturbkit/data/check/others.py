"""Files that are no screen: said to be what they are, with what can be done with them."""

import gzip
import json
import re
import zlib
from pathlib import Path

import polars as pl

from perturbkit.core.errors import PerturbkitError
from perturbkit.data.check.report import Finding, Report, counted
from perturbkit.data.read.contrasts import is_mageck
from perturbkit.data.read.tables import read_table

EDGE_COLUMNS = {
    "source", "target", "tf", "gene1", "gene2", "entity1", "entity2", "node1", "node2", "regulator",
}  # fmt: skip
GENE_COLUMNS = {"gene", "gene_symbol", "symbol", "name", "pr_gene_symbol", "hgnc_symbol"}
IDENTIFIER = re.compile(r"(^|_)(id|is|pmid|entrez)(_|$)", re.IGNORECASE)
"""Numbers in columns of these names are no measurements."""
MOST = 50_000_000
"""Bytes of text that are looked at."""


def describe_other(path: Path, error: PerturbkitError) -> Report:
    """Return the report on a file that does not read as a screen.

    Args:
        path: the file.
        error: why it does not read as one.
    """
    known = _gene_sets(path) or _arrays(path) or _json(path) or _table(path, error)
    if known is None:
        do = "copy or download it again, or give a file of cells or profiles"
        return Report(str(path), {}, (Finding("unreadable", "error", str(error), do),))
    holds, says, do = known
    return Report(str(path), {"holds": holds}, (Finding("no_screen", "error", says, do),))


Known = tuple[str, str, str]


def _gene_sets(path: Path) -> Known | None:
    if not path.name.removesuffix(".gz").endswith(".gmt"):
        return None
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            text = file.read(MOST).decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error):
        return None
    sets = [line.split("\t") for line in text.splitlines() if line.count("\t") > 1]
    if not sets:
        return None
    n_genes = len({g for s in sets for g in s[2:] if g})
    return (
        f"{len(sets):,} gene sets of {n_genes:,} genes (GMT)",
        "gene sets, not a screen",
        f"perturbkit graph build gmt --from {path.name} -o edges.tsv makes a network of them",
    )


def _arrays(path: Path) -> Known | None:
    import zipfile

    if path.suffix == ".npy":
        return ("a NumPy array", "an array without names of perturbations or readouts",
                "give the table it was made from")  # fmt: skip
    if path.suffix != ".npz":
        return None
    try:
        names = [n.removesuffix(".npy") for n in zipfile.ZipFile(path).namelist()]
    except (OSError, zipfile.BadZipFile):
        return None
    return (f"the arrays {', '.join(names[:6])}", "arrays of a layout that no card of a screen has",
            "perturbkit list screens names the files that are read by name")  # fmt: skip


def _json(path: Path) -> Known | None:
    if path.suffix != ".json" or path.stat().st_size > MOST:
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    keys = ", ".join(map(str, list(value)[:6])) if isinstance(value, dict) else type(value).__name__
    return (f"JSON ({keys})", "settings or a description, not a screen",
            "give the data it describes")  # fmt: skip


def _table(path: Path, error: PerturbkitError) -> Known | None:
    try:
        table = read_table(path)
    except PerturbkitError:
        return None
    names = table.columns
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    holds = f"a table of {counted(table.height, 'row')} with the columns {shown}"
    if is_mageck(table):
        return holds, str(error), "read one column of it as the readout, as said above"
    texts = [n for n, t in table.schema.items() if t == pl.String]
    numbers = [n for n, t in table.schema.items() if t.is_numeric() and not IDENTIFIER.search(n)]
    if any(re.fullmatch(r"-?\d+(\.\d+)?", n) for n in names):
        return (holds, "the first row holds data where the names of the columns belong",
                "write a first row that names the columns")  # fmt: skip
    if len({n.casefold() for n in names[:4]} & EDGE_COLUMNS) >= 2:
        return (holds, "the edges of a network, not a screen",
                "perturbkit list graphs names the networks that are read; any other is read as "
                "edge_list once its columns are called source and target")  # fmt: skip
    return holds, *_matrix(table, texts, numbers)


def _matrix(table: pl.DataFrame, texts: list[str], numbers: list[str]) -> tuple[str, str]:
    n_columns = len(table.columns)
    named = next((n for n in texts if table[n].n_unique() > 0.9 * table.height), None)
    if named is not None and len(numbers) == n_columns - 1 > 7 and table.height > 4 * n_columns:
        return ("by the look of it a matrix with a readout in each row (its name in the column "
                f"{named!r}) and a profile in each column",
                "turn it, with a column 'perturbation' for what each profile is of")  # fmt: skip
    if len(numbers) > 4 and len(numbers) >= n_columns - 1:
        return ("a matrix whose rows do not say what was perturbed",
                "add a column 'perturbation' (and 'context'), then check it again")  # fmt: skip
    if texts and numbers:
        column = next((n for n in texts if n.casefold() in GENE_COLUMNS), texts[0])
        return ("a table without a column 'perturbation'",
                f"if its rows are perturbations: --set perturbation={column!r}; its numbers are "
                f"the readouts, or with --set value={numbers[-1]!r} that column alone")  # fmt: skip
    return "a table without measurements, not a screen", "nothing to mend"
