"""The column names and labels of other tools, read as ours."""

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

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
KINDS_OF_TEXT = {
    "crispri": ("crispri", "crispr interference", "interference"),
    "crispra": ("crispra", "crispr activation", "activation"),
    "ko": ("knockout", "crispr-cas9", "crisprn", "crispr knockout", "cas9", "ko", "mutant"),
    "oe": ("overexpression", "orf", "trt_oe"),
    "drug": ("drug", "compound", "small molecule", "trt_cp", "chemical"),
    "cytokine": ("cytokine", "ligand", "trt_lig"),
}
"""Words in columns of perturbation types, and the kind each stands for."""


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
    return CONTROL if parts == ["na"] else Condition(targets=tuple(parts)).perturbation


LINES = ("context", "cell_line", "cell_type", "celltype", "cell_line_id", "cell_id", "cell")
BATCHES = ("batch", "gem_group", "plate", "replicate", "bio_rep", "donor_id", "sample")

CONVENTIONS: tuple[Convention, ...] = (
    Convention("tahoe", "Tahoe-100M", ("drugname_drugconc",), "drugname_drugconc",
               {"context": ("cell_line_id", "cell_line", "cell_name"), "batch": ("plate",)},
               _tahoe, {"kind": "drug"}),
    Convention("l1000", "LINCS siginfo", ("pert_iname", "pert_type"), "pert_iname",
               {"context": ("cell_id", "cell_iname"), "dose_um": ("pert_dose",),
                "time_h": ("pert_time",), "kind": ("pert_type",), "batch": ("det_plate",)}),
    Convention("cellxgene", "the CELLxGENE schema", ("genetic_perturbation_id",),
               "genetic_perturbation_id",
               {"context": ("cell_line", "cell_type"), "batch": ("donor_id",),
                "kind": ("genetic_perturbation_strategy",)}, _cellxgene),
    Convention("sciplex", "sci-Plex", ("product_name", "dose"), "product_name",
               {"context": ("cell_type", "cell_line"), "batch": ("replicate", "plate")},
               None, {"kind": "drug"}),
    Convention("scperturb", "scPerturb", ("perturbation", "nperts"), "perturbation",
               {"context": ("cell_line", "celltype"), "dose_um": ("dose_value",),
                "kind": ("perturbation_type",), "batch": BATCHES}, joins=("_",)),
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
        for separator in separators:
            parts = [p.strip() for p in name.split(separator)]
            if len(parts) > 1 and all(p in known or CONTROL_LABEL.match(p) for p in parts):
                targets = tuple(p for p in parts if not CONTROL_LABEL.match(p))
                out[name] = Condition(targets=targets).perturbation
                break
    return out


def translated(
    obs: pd.DataFrame, rule: Convention, control: str | None = None, readouts: Iterable[str] = ()
) -> pd.DataFrame:
    """Return `obs` with our columns beside the foreign ones; the input is not changed.

    Args:
        obs: the cells.
        rule: how to read them.
        control: the label of the controls; by default every label in CONTROL_LABEL is one.
        readouts: names of the readouts, which tell `A_B` of two targets from one name.

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
    read = {n: _label(n, rule, control) for n in distinct}
    if rule.joins:
        others = [n for n in distinct if read[n] != CONTROL]
        read |= foreign_combinations(others, readouts, rule.joins)
    out["perturbation"] = pd.Categorical(labels.map(read))
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
    """Make doses and times numbers; what L1000 calls -666 is not stated."""
    for name in ("dose_um", "time_h"):
        if name in out.columns:
            values = pd.to_numeric(out[name], errors="coerce")
            out[name] = np.where(values < 0, np.nan, values)
    if rule.name == "sciplex":  # nanomolar there
        out["dose_um"] = pd.to_numeric(out["dose"], errors="coerce") / 1000.0
