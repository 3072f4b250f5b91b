"""The column names and labels of other tools, read as ours."""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from perturbkit.core.condition import CONTROL, Condition
from perturbkit.core.errors import SchemaError, UnknownNameError, unknown_name

SEPARATORS = ("_", "|", ",", ";", "&", "/", ":", " and ")
CONTROL_LABEL = re.compile(
    r"^(non[-_ ]?target(ing)?|ntc?|ctrl|control|neg(ative)?([-_ ]?(ctrl|control))?|negctrl|"
    r"safe[-_ ]?target(ing)?|dmso([-_ ]tf)?|vehicle|unperturbed|untreated|mock|scrambled?|aavs1|"
    r"intergenic|no[-_ ]perturbations?|\*)([-_ .]?\d+)?$",
    re.IGNORECASE,
)
"""Labels that screens use for cells in which nothing was perturbed."""
TUPLE = re.compile(
    r"^[(\[]\s*(?:'[^']+'|\"[^\"]+\")(?:\s*,\s*(?:'[^']+'|\"[^\"]+\"))*\s*,?\s*[)\]]$"
)
"""A combination as Python writes a list of names: `('AARS2', 'AATF')`."""
KINDS_OF_TEXT = {
    "crispri": ("crispri", "crispr interference", "interference"),
    "crispra": ("crispra", "crispr activation", "activation"),
    "ko": (
        "knockout",
        "crispr-cas9",
        "crisprn",
        "crispr knockout",
        "cas9",
        "ko",
        "mutant",
        "trt_xpr",
    ),
    "oe": ("overexpression", "orf", "trt_oe"),
    "drug": ("drug", "compound", "small molecule", "trt_cp", "chemical"),
    "cytokine": ("cytokine", "ligand", "trt_lig"),
}
"""Words in columns of perturbation types, and the kind each stands for."""


MOLAR = {"pM": 1e-6, "nM": 1e-3, "uM": 1.0, "um": 1.0, "µM": 1.0, "μM": 1.0, "mM": 1e3, "M": 1e6}
"""Micromolar in one of each unit; a dose in another one (ng/ml, %) is not stated in ours."""


@dataclass(frozen=True)
class Convention:
    """Which columns of `obs` another tool writes, and how its labels read."""

    name: str
    says: str
    """who writes it so"""
    needs: tuple[str, ...]
    """columns by which it is recognised"""
    perturbation: str
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """for each of our columns the names it may have there, the first found counts"""
    label: Callable[[str], str] | None = None
    """turns a label into our notation"""
    constants: dict[str, str] = field(default_factory=dict)
    joins: tuple[str, ...] = ()
    """signs other than '+' that join the targets of a combination"""
    flag: str = ""
    """column that says whether a row is a control: true, or a text that begins with `ctl`"""
    dose_unit: tuple[str, ...] = ()
    """columns that hold the unit of the doses; without one they are micromolar"""

    @property
    def reads(self) -> tuple[str, ...]:
        """All columns it may look at."""
        named = [c for columns in self.columns.values() for c in columns]
        return tuple(dict.fromkeys((self.perturbation, *self.needs, *named, self.flag,
                                    *self.dose_unit)))  # fmt: skip


def _tahoe(label: str) -> str:
    """Read Tahoe's `[('Drug', 5.0, 'uM')]`, several drugs in one list."""
    try:
        parts = ast.literal_eval(label)
        drugs = [(str(n), float(c), str(u)) for n, c, u in parts]
    except (ValueError, SyntaxError, TypeError) as error:
        message = f"{label!r} is no list of (drug, concentration, unit), as Tahoe writes"
        raise SchemaError(message) from error
    if all(CONTROL_LABEL.match(n) for n, _, _ in drugs):
        return CONTROL
    names = Condition(targets=tuple(n for n, _, _ in drugs)).perturbation
    same = len({(c, u) for _, c, u in drugs}) == 1
    return f"{names}@{drugs[0][1]:g}{drugs[0][2]}" if same else names


def _cellxgene(label: str) -> str:
    """Read CELLxGENE's ids joined by `||`, and its `na`."""
    parts = [p.strip() for p in label.split("||")]
    names = tuple(p for p in parts if p != "na" and not CONTROL_LABEL.match(p))
    return Condition(targets=names).perturbation


def cellxgene_targets(uns: Mapping[str, Any]) -> dict[str, str]:
    """Return for each id of CELLxGENE's `uns['genetic_perturbations']` what it targets.

    A perturbation whose role is control stands for the control; one without `derived_features`
    keeps its id.
    """
    out = {}
    entries = uns.get("genetic_perturbations")
    for name, entry in entries.items() if isinstance(entries, Mapping) else ():
        features = entry.get("derived_features") if isinstance(entry, Mapping) else None
        found = features.values() if isinstance(features, Mapping) else features
        targets = (
            [str(f) for f in np.atleast_1d(found)]
            if isinstance(found, np.ndarray)
            else [str(f) for f in found or ()]
        )
        if isinstance(entry, Mapping) and str(entry.get("role", "")).casefold() == "control":
            out[str(name)] = CONTROL
        elif targets:
            out[str(name)] = " || ".join(targets)
    return out


LINES = ("context", "cell_line", "cell_type", "celltype", "cell_line_id", "cell_id", "cell")
BATCHES = ("batch", "gem_group", "plate", "replicate", "bio_rep", "donor_id", "sample")

CONVENTIONS: tuple[Convention, ...] = (
    Convention("tahoe", "Tahoe-100M", ("drugname_drugconc",), "drugname_drugconc",
               {"context": ("cell_line_id", "cell_line", "cell_name"), "batch": ("plate",)},
               _tahoe, {"kind": "drug"}),
    Convention("l1000", "LINCS siginfo", ("pert_iname", "pert_type"), "pert_iname",
               {"context": ("cell_id", "cell_iname"), "dose_um": ("pert_dose",),
                "time_h": ("pert_time",), "kind": ("pert_type",), "batch": ("det_plate",)},
               flag="pert_type", dose_unit=("pert_dose_unit",)),
    Convention("cellxgene", "the CELLxGENE schema", ("genetic_perturbation_id",),
               "genetic_perturbation_id",
               {"context": ("cell_line", "cell_type"), "batch": ("donor_id",),
                "kind": ("genetic_perturbation_strategy",)}, _cellxgene),
    Convention("sciplex", "sci-Plex", ("product_name", "dose"), "product_name",
               {"context": ("cell_type", "cell_line"), "batch": ("replicate", "plate")},
               None, {"kind": "drug"}),
    Convention("scperturb", "scPerturb", ("perturbation", "nperts"), "perturbation",
               {"context": ("cell_line", "celltype"), "dose_um": ("dose_value",),
                "kind": ("perturbation_type",), "batch": BATCHES}, joins=("_",),
               dose_unit=("dose_unit",)),
    Convention("xatlas", "X-Atlas", ("perturbation", "is_control"), "perturbation",
               {"context": LINES, "batch": BATCHES}, None, {"kind": "crispri"}, flag="is_control"),
    Convention("perturbkit", "perturbkit", ("perturbation",), "perturbation",
               {"context": LINES, "batch": BATCHES, "kind": ("kind", "perturbation_type"),
                "dose_um": ("dose_um",), "time_h": ("time_h",)}),
    Convention("gears", "GEARS", ("condition", "cell_type"), "condition",
               {"context": ("cell_type",), "batch": BATCHES}),
    Convention("cell_load", "cell-load and STATE", ("target_gene",), "target_gene",
               {"context": ("cell_type", "celltype", "cell_line"),
                "batch": ("gem_group", "batch_var", "batch")}),
    Convention("replogle", "Replogle 2022 and cell-load", ("gene", "gem_group"), "gene",
               {"context": ("cell_type", "cell_line"), "batch": ("gem_group",)}),
)  # fmt: skip


def recognise(columns: pd.Index | list[str]) -> list[Convention]:
    """Return the conventions whose columns are there, the most specific first."""
    present = set(map(str, columns))
    return [c for c in CONVENTIONS if set(c.needs) <= present]


def convention(name: str) -> Convention:
    """Return a convention by its name.

    Raises:
        UnknownNameError: no such convention.
    """
    for known in CONVENTIONS:
        if known.name == name:
            return known
    raise unknown_name("convention", name, [c.name for c in CONVENTIONS])


def foreign_combinations(
    names: list[str], readouts: Iterable[str], separators: Iterable[str]
) -> dict[str, str]:
    """Return labels that join known names by a separator other than '+', in our notation.

    Args:
        names: the labels.
        readouts: names of the readouts; these and labels without a separator are known names.
        separators: what may join them.
    """
    known = set(readouts) | {n for n in names if not any(s in n for s in separators)}
    known |= {n for n in names if CONTROL_LABEL.match(n)}
    out = {}
    for name in names:
        if TUPLE.match(name):
            parts = [p.strip("'\"") for p in re.findall(r"'[^']*'|\"[^\"]*\"", name)]
            targets = tuple(p for p in parts if p and not CONTROL_LABEL.match(p))
            out[name] = Condition(targets=targets).perturbation
            continue
        for separator in separators:
            parts = [p.strip() for p in name.split(separator)]
            if len(parts) > 1 and all(p in known or CONTROL_LABEL.match(p) for p in parts):
                targets = tuple(p for p in parts if not CONTROL_LABEL.match(p))
                out[name] = Condition(targets=targets).perturbation
                break
    return out


def translated(
    obs: pd.DataFrame, rule: Convention, control: str | None = None, readouts: Iterable[str] = (),
    uns: Mapping[str, Any] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return `obs` with our columns beside the foreign ones; the input is not changed.

    Args:
        obs: the cells.
        rule: how to read them.
        control: the label of the controls; by default every label in CONTROL_LABEL is one.
        readouts: names of the readouts, which tell `A_B` of two targets from one name.
        uns: what the file says besides, where CELLxGENE lists its perturbations.

    Raises:
        SchemaError: a label that cannot be read, or none is missing and none is a control.
        UnknownNameError: `control` is not among the labels.
    """
    if rule.perturbation not in obs.columns:
        message = (
            f"obs has no column {rule.perturbation!r}, which {rule.says} writes; it has "
            f"{', '.join(map(str, obs.columns)) or 'none'}"
        )
        raise SchemaError(message)
    out = obs.copy()
    labels = obs[rule.perturbation].astype(str)
    distinct = list(pd.unique(labels))
    if control is not None and control not in distinct:
        raise UnknownNameError(str(unknown_name("control label", control, distinct)))
    ids = cellxgene_targets(uns or {}) if rule.name == "cellxgene" else {}
    read = {n: _label(_by_ids(n, ids), rule, control) for n in distinct}
    if rule.joins:
        others = [n for n in distinct if read[n] != CONTROL]
        read |= foreign_combinations(others, readouts, rule.joins)
    perturbation = labels.map(read)
    if rule.flag in obs.columns and control is None:
        perturbation = perturbation.mask(_flagged(obs[rule.flag]), CONTROL)
    out["perturbation"] = pd.Categorical(perturbation)
    for name, foreign in rule.columns.items():
        found = next((c for c in foreign if c in obs.columns), None)
        if found is not None:
            out[name] = obs[found].to_numpy()
    for name, value in rule.constants.items():
        out[name] = value
    if "kind" in out.columns:
        kinds = {str(t): kind_of(str(t)) for t in pd.unique(out["kind"].astype(str))}
        out["kind"] = pd.Categorical(out["kind"].astype(str).map(kinds))
    _numbers(out, rule)
    return out


def _by_ids(label: str, ids: dict[str, str]) -> str:
    return " || ".join(ids.get(p.strip(), p) for p in label.split("||")) if ids else label


def _flagged(column: pd.Series) -> np.ndarray:
    texts = column.astype(str).str.casefold()
    return (texts.isin(["true", "1", "1.0", "yes"]) | texts.str.startswith("ctl")).to_numpy()


def _label(label: str, rule: Convention, control: str | None) -> str:
    if label == control or (control is None and CONTROL_LABEL.match(label.strip())):
        return CONTROL
    return rule.label(label) if rule.label else label


def kind_of(text: str) -> str:
    """Return the kind that a text of a column of perturbation types stands for."""
    folded = text.strip().casefold()
    for kind, words in KINDS_OF_TEXT.items():
        if folded == kind or any(w in folded for w in words if len(w) > 2) or folded in words:
            return kind
    return "unknown"


def _numbers(out: pd.DataFrame, rule: Convention) -> None:
    """Make doses (micromolar) and times (hours) numbers; what L1000 calls -666 is not stated."""
    for name in ("dose_um", "time_h"):
        if name in out.columns:
            values = pd.to_numeric(out[name], errors="coerce").to_numpy(float)
            out[name] = np.where(values < 0, np.nan, values)
    if rule.name == "sciplex":  # nanomolar there
        out["dose_um"] = pd.to_numeric(out["dose"], errors="coerce") / 1000.0
    unit = next((c for c in rule.dose_unit if c in out.columns), None)
    if unit is not None and "dose_um" in out.columns:
        factor = {u: MOLAR.get(str(u).strip(), np.nan) for u in pd.unique(out[unit])}
        out["dose_um"] = out["dose_um"] * out[unit].map(factor).to_numpy(float)
