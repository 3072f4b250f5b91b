"""The doctor: what a file is, what is wrong with it, and what mends it."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perturbkit.core.condition import CONTROL, Condition
from perturbkit.core.config import Config
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import existing
from perturbkit.core.screen import Screen
from perturbkit.core.units import RELATIVE_UNITS
from perturbkit.data.check.gene_names import GeneNames, alias_findings
from perturbkit.data.check.genes import SYMBOL_COLUMNS, gene_findings
from perturbkit.data.check.labels import (
    Reading,
    label_facts,
    label_findings,
    read_rows,
    unreadable,
)
from perturbkit.data.check.opened import Opened, levels_of_targets, open_file
from perturbkit.data.check.others import describe_other
from perturbkit.data.check.repair import mended, mended_profiles
from perturbkit.data.check.report import Finding as Finding
from perturbkit.data.check.report import Report as Report
from perturbkit.data.check.targets import target_findings
from perturbkit.data.check.values import Values, scan, unit_of, value_findings
from perturbkit.data.read.any import read_any, with_labels
from perturbkit.data.read.conventions import CONVENTIONS, Convention, convention
from perturbkit.data.read.h5ad import STAMP, write_screen
from perturbkit.data.read.tables import TableOptions
from perturbkit.data.stats import TARGET_SUM


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
    """a table of gene names (`perturbkit names`), with which aliases are found; by default the
    small one that is shipped"""
    labels: str | None = None
    """a table whose first column names rows and whose others label them, for 10x files"""
    label: str | None = None
    """the perturbation of a table of one contrast"""
    value: str | None = None
    """the column of a table to read as the one readout"""

    @property
    def table(self) -> TableOptions:
        """What is known of a table."""
        return TableOptions(self.perturbation or "perturbation", self.label, self.value)

    def of(self, opened: Opened) -> "CheckOptions":
        """Return the options for what was opened: tables have their column renamed already."""
        renamed = self.perturbation not in opened.adata.obs and "perturbation" in opened.adata.obs
        return self.replace(perturbation=None) if self.perturbation and renamed else self


def check(path: str | Path, options: CheckOptions | None = None) -> Report:
    """Look at a file and say what it is and what is wrong with it; nothing is written.

    A file that cannot be read to its end is one finding, `unreadable`, not an exception.

    Raises:
        FileError: there is no such file.
        UnknownNameError: the convention in the options is not known.
    """
    options = options or CheckOptions()
    file = existing(path, "file")
    with ExitStack() as stack:
        try:
            screen = listed(file)
            opened = (
                Opened.of(screen.adata, screen.level)
                if screen is not None
                else _labelled(file, options)
                if options.labels is not None
                else open_file(file, options.table, stack)
            )
            if screen is not None:
                options = options.replace(unit=screen.unit, convention="perturbkit")
            return diagnose(opened, str(path), options.of(opened))[0]
        except (FileError, SchemaError) as error:
            return describe_other(file, error)


def _labelled(file: Path, options: CheckOptions) -> Opened:
    """Read a file and join the table of labels to its rows."""
    adata, level = read_any(file, options.table)
    return Opened.of(with_labels(adata, options.labels or ""), level)


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
    adata, level = read_any(existing(path, "file"), options.table)
    if options.labels is not None:
        adata = with_labels(adata, options.labels)
    opened = Opened.of(adata, level)
    report, reading, unit = diagnose(opened, str(path), options.of(opened))
    if "unreadable_labels" in report.codes:
        raise SchemaError(next(f.says for f in report.findings if f.code == "unreadable_labels"))
    symbols = options.readouts
    if symbols is None and report.codes & {"mixed_names", "no_target_measured"}:
        symbols = next((c for c in SYMBOL_COLUMNS if c in adata.var.columns), None)
    make = mended if opened.level == "cells" else mended_profiles
    write_screen(make(adata, reading, unit or "", symbols), out)
    return check(out)


def diagnose(
    opened: Opened, path: str, options: CheckOptions
) -> tuple[Report, Reading, str | None]:
    """Return the report on what was opened, how its labels read, and its unit if that is known."""
    adata, is_cells = opened.adata, opened.level == "cells"
    stamp = adata.uns.get(STAMP)
    stored = str(stamp["unit"]) if isinstance(stamp, dict) and "unit" in stamp else None
    stated = options.unit or stored
    names = [str(n) for n in (adata.var[options.readouts] if options.readouts in adata.var.columns
                              else adata.var_names)]  # fmt: skip
    found = scan(opened.matrix)
    unit, why = unit_of(found)
    findings = value_findings(found, unit, why, stated, is_cells=is_cells)
    findings += _layer_findings(opened, unit)
    facts: dict[str, Any] = {
        "rows": f"{found.shape[0]:,} {opened.level}",
        "readouts": f"{found.shape[1]:,} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})",
        "unit": f"{unit or 'unknown'}: {why}",
        "values": f"{found.density:.1%} other than zero, stored {opened.layout}",
    }
    if not adata.obs_names.is_unique:
        findings.append(Finding("duplicate_cells", "error", "row names occur more than once",
                                "--fix numbers them", fixable=True))  # fmt: skip
    findings += gene_findings(names, list(map(str, adata.var.columns)))
    findings += alias_findings(names, GeneNames.load(options.names))
    try:
        reading = read_rows(adata.obs, _rule(options, stored), options.control, names, adata.uns)
        if options.kind and reading.rule is not None:
            reading.obs["kind"] = options.kind
        facts |= label_facts(reading)
        relative = (stated or unit) in (*RELATIVE_UNITS, "score")
        findings += label_findings(
            reading, adata.obs, is_cells=is_cells, needs_control=not relative
        )
        findings += target_findings(reading, names, _levels(opened, reading, unit, found))
    except SchemaError as error:
        reading = Reading(None, adata.obs, pd.Series(dtype=object), [])
        findings.append(unreadable(error))
    if opened.layout == "by columns (CSC)":
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


def listed(path: Path) -> Screen | None:
    """Return the screen of a file that a card reads and that is not h5ad, which is looked at."""
    from perturbkit.data.screens import SCREENS, open_screen

    names = {Path(c.file).name for c in SCREENS.values() if c.file}
    return open_screen(path) if path.name in names and path.suffix != ".h5ad" else None


def _layer_findings(opened: Opened, unit: str | None) -> list[Finding]:
    """Say whether a layer called counts holds them, and whether X could be taken from it."""
    if not opened.layers:
        return []
    counts, matrix = next(iter(opened.layers.items()))
    shown, why = unit_of(scan(matrix))
    if shown != "counts":
        return [Finding("counts_layer_is_not", "error",
                        f"the layer {counts!r} does not hold counts ({why})",
                        "rename it, or write the raw counts there")]  # fmt: skip
    if unit != "counts":
        return [Finding("counts_in_layer", "note", f"raw counts are in the layer {counts!r}",
                        f"--set layer={counts} in prepare reads them")]  # fmt: skip
    return []


def _levels(
    opened: Opened, reading: Reading, unit: str | None, found: Values
) -> dict[str, tuple[float, float]] | None:
    """Return for each perturbation of one target its level there and in the controls."""
    if unit not in ("counts", "log1p_cp10k") or reading.rule is None or found.n_nan + found.n_inf:
        return None
    if len(reading.obs) != found.shape[0] or opened.level != "cells":
        return None
    labels = reading.obs["perturbation"].astype(str)
    names = [CONTROL, *sorted(set(labels) - {CONTROL})]
    where = {n: i for i, n in enumerate(map(str, opened.adata.var_names))}
    targets = [Condition.parse(n).targets for n in names]
    column_c = np.array([where.get(t[0], -1) if len(t) == 1 else -1 for t in targets])
    code_n = pd.Categorical(labels, categories=names).codes.astype(np.int64)
    scale_n = None
    if unit == "counts":
        total_n = found.total_n
        scale_n = np.divide(TARGET_SUM, total_n, out=np.zeros_like(total_n), where=total_n > 0)
    own_c, before_c = levels_of_targets(opened, code_n, column_c, scale_n)
    if not (code_n == 0).any():
        return None
    return {n: (own_c[i], before_c[i]) for i, n in enumerate(names) if i and column_c[i] >= 0}
