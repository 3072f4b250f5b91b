"""The doctor: what a file is, what is wrong with it, and what mends it."""

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from perturbkit.core.condition import CONTROL
from perturbkit.core.config import Config
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import existing
from perturbkit.core.screen import Screen
from perturbkit.data.check.gene_names import GeneNames, alias_findings
from perturbkit.data.check.genes import SYMBOL_COLUMNS, gene_findings
from perturbkit.data.check.labels import (
    Reading,
    label_facts,
    label_findings,
    read_rows,
    unreadable,
)
from perturbkit.data.check.repair import mended
from perturbkit.data.check.report import Finding as Finding
from perturbkit.data.check.report import Report as Report
from perturbkit.data.check.targets import target_findings
from perturbkit.data.check.values import Values, add, unit_of, value_findings
from perturbkit.data.read.conventions import CONVENTIONS, Convention, convention
from perturbkit.data.read.h5ad import STAMP, read_adata, write_screen
from perturbkit.data.read.rows import Rows
from perturbkit.data.stats import TARGET_SUM, group_stats, library_sizes


class CheckOptions(Config):
    """What the user knows of a file."""

    unit: str | None = None
    """the unit of the values"""
    convention: str | None = None
    """whose column names and labels; by default what is recognised"""
    perturbation: str | None = None
    """column of the perturbations, in our notation"""
    control: str | None = None
    """label of the controls"""
    readouts: str | None = None
    """column of var that holds the names of the readouts"""
    kind: str | None = None
    """how the cells were perturbed"""
    names: str | None = None
    """a table of gene names (`perturbkit names`), with which aliases are found"""


def check(path: str | Path, options: CheckOptions | None = None) -> Report:
    """Look at a file and say what it is and what is wrong with it; nothing is written.

    A file that cannot be read to its end is one finding, `unreadable`, not an exception.

    Raises:
        FileError: there is no such file.
        UnknownNameError: the convention in the options is not known.
    """
    options = options or CheckOptions()
    file = existing(path, "h5ad file")
    try:
        adata = read_adata(file)
    except FileError as error:
        do = "copy or download it again, or give an h5ad file"
        return Report(str(path), {}, (Finding("unreadable", "error", str(error), do),))
    return diagnose(adata, str(path), options)[0]


def fix(path: str | Path, out: str | Path, options: CheckOptions | None = None) -> Report:
    """Write the file's cells as a Screen without the faults that can be mended.

    Returns:
        The report of the new file.

    Raises:
        SchemaError: what is left cannot be mended; says what to state.
        FileError: the file cannot be read, or `out` is taken or cannot be written.
    """
    options = options or CheckOptions()
    if Path(out).exists():
        message = f"{out} exists already; name another file for the mended screen"
        raise FileError(message)
    adata = read_adata(path)
    report, reading, unit = diagnose(adata, str(path), options)
    if "unreadable_labels" in report.codes:
        raise SchemaError(next(f.says for f in report.findings if f.code == "unreadable_labels"))
    symbols = options.readouts
    if symbols is None and report.codes & {"mixed_names", "no_target_measured"}:
        symbols = next((c for c in SYMBOL_COLUMNS if c in adata.var.columns), None)
    write_screen(mended(adata, reading, unit or "", symbols), out)
    return check(out)


def diagnose(
    adata: ad.AnnData, path: str, options: CheckOptions
) -> tuple[Report, Reading, str | None]:
    """Return the report on data in memory, how its labels read, and its unit if that is known."""
    stamp = adata.uns.get(STAMP)
    stored = str(stamp["unit"]) if isinstance(stamp, dict) and "unit" in stamp else None
    stated = options.unit or stored
    names = [str(n) for n in (adata.var[options.readouts] if options.readouts in adata.var.columns
                              else adata.var_names)]  # fmt: skip
    found = _scan_memory(adata.X)
    unit, why = unit_of(found)
    findings = value_findings(found, unit, why, stated)
    findings += _layer_findings(adata, unit)
    facts: dict[str, Any] = {
        "rows": f"{found.shape[0]:,}",
        "readouts": f"{found.shape[1]:,} ({', '.join(names[:3])}, ...)",
        "unit": f"{unit or 'unknown'}: {why}",
        "values": f"{found.density:.1%} other than zero, stored {_layout(adata.X)}",
    }
    if not adata.obs_names.is_unique:
        findings.append(Finding("duplicate_cells", "error", "row names occur more than once",
                                "--fix numbers them", fixable=True))  # fmt: skip
    findings += gene_findings(names, list(map(str, adata.var.columns)))
    if options.names is not None:
        findings += alias_findings(names, GeneNames.load(options.names))
    try:
        reading = read_rows(adata.obs, _rule(options, stored), options.control, names, adata.uns)
        if options.kind and reading.rule is not None:
            reading.obs["kind"] = options.kind
        facts |= label_facts(reading)
        findings += label_findings(reading, adata.obs)
        findings += target_findings(reading, names, _means(adata, reading, unit, found))
    except SchemaError as error:
        reading = Reading(None, adata.obs, pd.Series(dtype=object), [])
        findings.append(unreadable(error))
    if sparse.issparse(adata.X) and adata.X.format == "csc":
        findings.append(Finding("by_columns", "warning",
            "the matrix is stored by columns, which cannot be streamed cell by cell",
            "--fix OUT.h5ad stores it by rows", fixable=True))  # fmt: skip
    return Report(path, facts, tuple(findings)), reading, stated or unit


def _rule(options: CheckOptions, stored: str | None) -> Convention | None:
    """Return the convention that the user states, or that a file written here has."""
    if options.convention:
        return convention(options.convention)
    ours = next(c for c in CONVENTIONS if c.name == "perturbkit")
    if stored and not options.perturbation:
        return ours
    if options.perturbation:
        return Convention("perturbkit", ours.says, (options.perturbation,), options.perturbation,
                          ours.columns)  # fmt: skip
    return None


def _layout(x_ng: Any) -> str:
    if not sparse.issparse(x_ng):
        return "densely"
    return "by rows (CSR)" if x_ng.format == "csr" else "by columns (CSC)"


def _scan_memory(x_ng: Any) -> Values:
    n, g = x_ng.shape
    found = Values((n, g), sparse.issparse(x_ng), np.zeros(n), np.zeros(n, np.int64),
                   np.zeros(g, np.int64), np.zeros(n))  # fmt: skip
    for low in range(0, n, 4096):
        part = sparse.csr_matrix(x_ng[low : low + 4096])
        add(found, Rows(low, part.data, part.indices, part.indptr))
    return found


def _layer_findings(adata: ad.AnnData, unit: str | None) -> list[Finding]:
    """Say whether a layer called counts holds them, and whether X could be taken from it."""
    counts = next((n for n in ("counts", "raw_counts") if n in adata.layers), None)
    if counts is None:
        return []
    shown, why = unit_of(_scan_memory(adata.layers[counts]))
    if shown != "counts":
        return [Finding("counts_layer_is_not", "error",
                        f"the layer {counts!r} does not hold counts ({why})",
                        "rename it, or write the raw counts there")]  # fmt: skip
    if unit != "counts":
        return [Finding("counts_in_layer", "note", f"raw counts are in the layer {counts!r}",
                        f"--set layer={counts} in prepare reads them")]  # fmt: skip
    return []


def _means(
    adata: ad.AnnData, reading: Reading, unit: str | None, found: Values
) -> dict[str, np.ndarray] | None:
    """Return the mean level of each readout in each perturbation and in the controls."""
    if unit not in ("counts", "log1p_cp10k") or reading.rule is None or found.n_nan + found.n_inf:
        return None
    if len(reading.obs) != adata.n_obs or reading.obs["perturbation"].nunique() > 20_000:
        return None
    codes, names = pd.factorize(reading.obs["perturbation"].astype(str))
    x_ng = sparse.csr_matrix(adata.X)
    if unit == "counts":
        total_n = library_sizes(x_ng)
        scale = np.divide(TARGET_SUM, total_n, out=np.zeros_like(total_n), where=total_n > 0)
        x_ng = sparse.diags(scale) @ x_ng
    else:
        x_ng = sparse.csr_matrix((np.expm1(x_ng.data), x_ng.indices, x_ng.indptr), x_ng.shape)
    mean_kg = group_stats(x_ng, codes, len(names)).mean_kg
    return {str(n): mean_kg[i] for i, n in enumerate(names)} if CONTROL in names else None


def screen_of(adata: ad.AnnData, path: str, options: CheckOptions) -> Screen:
    """Return data in memory as the Screen that `fix` would write."""
    _, reading, unit = diagnose(adata, path, options)
    return mended(adata, reading, unit or "", options.readouts)
