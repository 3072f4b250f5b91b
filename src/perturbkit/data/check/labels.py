"""The labels of the rows: controls, guides, combinations, contexts, batches, cell numbers."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from perturbkit.core.condition import CONTROL, Condition
from perturbkit.core.errors import SchemaError
from perturbkit.data.check.genes import DATE, gene_of_date
from perturbkit.data.check.report import Finding, counted
from perturbkit.data.read.conventions import (
    CONTROL_LABEL,
    SEPARATORS,
    Convention,
    foreign_combinations,
    recognise,
    translated,
)

GUIDE = re.compile(
    r"^(?P<gene>[A-Za-z0-9.\-]*?[A-Za-z0-9])[_\-.]?(?:sg|sgRNA|g|guide)[_\-]?\d+$"
    r"|^(?P<stem>[A-Za-z0-9.\-]+?)_(?:\d+|[ACGT]{15,})$"
)
PLURALS = {"context": "contexts", "kind": "kinds", "batch": "batches"}
FEW_CELLS = 30
"""Below this the mean of a profile is mostly noise."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The labels of a file, read by one convention."""

    rule: Convention | None
    obs: pd.DataFrame
    """with our columns, where a convention was found"""
    labels: pd.Series
    """the foreign labels of the perturbations; empty without a convention"""
    controls: list[str]
    """foreign labels that are controls"""
    foreign: dict[str, str] = field(default_factory=dict)
    """combinations in a foreign notation, and ours"""
    guides: dict[str, str] = field(default_factory=dict)
    """labels of guides, and their targets"""


def read_rows(
    obs: pd.DataFrame, rule: Convention | None, control: str | None, readouts: list[str],
    uns: Mapping[str, Any],
) -> Reading:  # fmt: skip
    """Find out how the labels are written.

    Args:
        obs: the columns of the rows.
        rule: the convention; by default the first that is recognised.
        control: the label of the controls, if it is known.
        readouts: names of the readouts, which tell combinations from names with a separator.
        uns: what the file says besides.

    Raises:
        SchemaError: labels that cannot be read.
    """
    rule = rule or next(iter(recognise(obs.columns)), None)
    if rule is None or rule.perturbation not in obs.columns:
        return Reading(None, obs, pd.Series(dtype=object), [])
    labels = obs[rule.perturbation].astype(str)
    distinct = list(pd.unique(labels))
    controls = (
        [n for n in distinct if n == control]
        if control
        else [n for n in distinct if CONTROL_LABEL.match(n.strip()) or n == CONTROL]
    )
    others = [n for n in distinct if n not in controls]
    guides = guide_labels(others)
    foreign = {} if guides or rule.label else foreign_combinations(others, readouts, SEPARATORS)
    table = obs.assign(**{rule.perturbation: labels.map(lambda n: ours(n, foreign, guides))})
    missing = obs[rule.perturbation].isna().to_numpy()
    out = translated(table.loc[~missing], rule, control if control in distinct else None,
                     uns=uns)  # fmt: skip
    read_as = labels[~missing]
    controls = list(pd.unique(read_as[(out["perturbation"] == CONTROL).to_numpy()]))
    return Reading(rule, out, read_as, controls, foreign, guides)


def ours(label: str, foreign: dict[str, str], guides: dict[str, str]) -> str:
    """Return a label with guides, foreign combinations and spreadsheet dates read."""
    return foreign.get(label, guides.get(label, gene_of_date(label) or label))


def guide_labels(names: list[str]) -> dict[str, str]:
    """Return the targets of labels that name guides, if most labels do and targets recur."""
    found = {n: (m["gene"] or m["stem"]) for n in names if (m := GUIDE.match(n))}
    if len(found) < max(0.6 * len(names), 4) or len(found) < 1.5 * len(set(found.values())):
        return {}
    return found


def label_facts(reading: Reading) -> dict[str, object]:
    """Return what the labels say, in a few words each."""
    if reading.rule is None:
        return {"labels": "no column of perturbations is recognised"}
    obs = reading.obs
    # rows without a label have a finding of their own
    parsed = {p: Condition.parse(p) for p in obs["perturbation"].dropna().unique()}
    sizes = Counter(len(c.targets) for c in parsed.values())
    facts: dict[str, object] = {
        "labels": f"column {reading.rule.perturbation!r}, as {reading.rule.says} writes",
        "perturbations": f"{sum(v for k, v in sizes.items() if k):,}"
        + (
            f" ({sum(v for k, v in sizes.items() if k > 1):,} combinations)"
            if any(k > 1 for k in sizes)
            else ""
        ),
        "controls": counted(int((obs["perturbation"] == CONTROL).sum()), "row")
        + (f" labelled {', '.join(map(repr, reading.controls))}" if reading.controls else ""),
    }
    for name, plural in PLURALS.items():
        if name in obs.columns:
            values = list(map(str, pd.unique(obs[name].astype(str))))
            more = f" and {len(values) - 5:,} more" if len(values) > 5 else ""
            facts[plural] = f"{len(values)} ({', '.join(sorted(values)[:5])}{more})"
    doses = {c.dose_um for c in parsed.values() if c.dose_um is not None}
    if "dose_um" in obs.columns:
        doses |= set(obs["dose_um"].dropna())
    if doses:
        facts["doses"] = f"{len(doses)} from {min(doses):g} to {max(doses):g} uM"
    return facts


def label_findings(
    reading: Reading, obs: pd.DataFrame, *, is_cells: bool = True, needs_control: bool = True
) -> list[Finding]:
    """Return what is wrong with the labels of the rows.

    Args:
        reading: the labels.
        obs: the columns of the rows as they are in the file.
        is_cells: whether rows are cells; of profiles one row is enough.
        needs_control: whether the unit is one that is compared with controls.
    """
    if reading.rule is None:
        columns = ", ".join(map(str, obs.columns)) or "none"
        return [
            Finding(
                "no_labels",
                "error",
                f"no column of obs is known to hold perturbations; it has {columns}",
                "--set perturbation=COLUMN names it",
            )
        ]
    out = [
        finding
        for finding in (
            _missing_labels(int(obs[reading.rule.perturbation].isna().sum())),
            _convention(reading.rule),
            _guide_labels(reading.guides),
            _combo_notation(reading.foreign),
            _dates_for_targets([n for n in pd.unique(reading.labels) if DATE.match(n)]),
        )
        if finding is not None
    ]
    if needs_control:
        out += _control_findings(reading)
    return out + (_size_findings(reading) if is_cells else [])


def _missing_labels(missing: int) -> Finding | None:
    if not missing:
        return None
    return Finding(
        "missing_labels",
        "error",
        f"{counted(missing, 'row', 'has have')} no perturbation",
        "--fix leaves them out",
        fixable=True,
    )


def _convention(rule: Convention) -> Finding | None:
    if rule.name == "perturbkit":
        return None
    return Finding(
        "convention",
        "note",
        f"written as {rule.says} does (column {rule.perturbation!r})",
        f"--convention {rule.name}, or --fix writes it in perturbkit's",
        fixable=True,
    )


def _guide_labels(guides: Mapping[str, str]) -> Finding | None:
    if not guides:
        return None
    return Finding(
        "guide_labels",
        "warning",
        f"{counted(len(guides), 'label', 'names name')} "
        f"guides, not targets: {', '.join(_some(guides))}",
        "--fix labels rows by the target and keeps the guide in obs",
        fixable=True,
    )


def _combo_notation(foreign: Mapping[str, str]) -> Finding | None:
    if not foreign:
        return None
    return Finding(
        "combo_notation",
        "warning",
        f"{counted(len(foreign), 'label', 'joins join')} "
        f"targets by another sign than '+': {', '.join(_some(foreign))}",
        "--fix rewrites them",
        fixable=True,
    )


def _dates_for_targets(dates: list[str]) -> Finding | None:
    if not dates:
        return None
    return Finding(
        "dates_for_targets",
        "error",
        f"a spreadsheet made dates of {counted(len(dates), 'label')}: {', '.join(dates[:3])}",
        "--fix gives them their genes back where it is clear which (not 1-Mar, 2-Mar)",
        fixable=any(gene_of_date(d) for d in dates),
    )


def _some(renamed: Mapping[str, str]) -> list[str]:
    return [f"{old} -> {new}" for old, new in list(renamed.items())[:3]]


def _control_findings(reading: Reading) -> list[Finding]:
    obs = reading.obs
    control = (obs["perturbation"] == CONTROL).to_numpy()
    if not control.any():
        common = [n for n, _ in Counter(reading.labels).most_common(3)]
        return [
            Finding(
                "no_control",
                "error",
                f"no label is a control; the most frequent are {', '.join(common)}",
                "--set control=LABEL names it",
            )
        ]
    out = []
    if len(reading.controls) > 1:
        out.append(
            Finding(
                "several_controls",
                "warning",
                f"{len(reading.controls)} labels are controls: {', '.join(reading.controls[:5])}",
                "--set control=LABEL if only one is meant; --fix takes them all as one",
                fixable=True,
            )
        )
    if any(n.casefold().startswith("aavs1") for n in reading.controls):
        out.append(
            Finding(
                "cutting_control",
                "note",
                "AAVS1 guides cut the genome, so these are no untouched cells",
                "prefer non-targeting cells where there are enough",
            )
        )
    for name, code in (("context", "context_without_control"), ("batch", "batch_without_control")):
        if name not in obs.columns:
            continue
        with_control = set(obs.loc[control, name].astype(str))
        absent = sorted(set(obs[name].astype(str)) - with_control)
        if absent:
            severity = "error" if name == "context" else "warning"
            out.append(
                Finding(
                    code,
                    severity,
                    f"{len(absent)} of {obs[name].nunique()} {PLURALS[name]} have no control: "
                    f"{', '.join(absent[:3])}",
                    "leave them out, or compare with the controls of others knowingly",
                )
            )
    return out


def _size_findings(reading: Reading) -> list[Finding]:
    obs, out = reading.obs, []
    columns = [c for c in ("perturbation", "context") if c in obs.columns]
    sizes = obs.groupby(columns, observed=True).size()
    few = sizes[sizes < FEW_CELLS]
    if len(few):
        name = few.index[0] if isinstance(few.index[0], str) else " in ".join(few.index[0])
        out.append(
            Finding(
                "few_cells",
                "warning",
                f"{len(few):,} of {len(sizes):,} conditions have fewer than {FEW_CELLS} rows, for "
                f"example {name} ({few.iloc[0]})",
                "--set min_cells=30 in prepare leaves them out",
            )
        )
    if "batch" in obs.columns and obs["batch"].nunique() > 1:
        out += _confounded(obs)
    return out


def _confounded(obs: pd.DataFrame) -> list[Finding]:
    """Say which perturbations lie in batches that hold no control of their context."""
    context = obs["context"].astype(str) if "context" in obs.columns else pd.Series("", obs.index)
    place = context + "\x1f" + obs["batch"].astype(str)
    control = obs["perturbation"] == CONTROL
    with_control = set(place[control])
    alone: dict[str, set[str]] = defaultdict(set)
    pairs = pd.DataFrame({"p": obs["perturbation"].astype(str), "b": place})[~control]
    for p, b in pairs.drop_duplicates().itertuples(index=False):
        alone[p].add(b)
    bad = sorted(p for p, places in alone.items() if not places & with_control)
    if not bad or not with_control:
        return []
    return [
        Finding(
            "confounded",
            "error" if len(bad) > 0.5 * len(alone) else "warning",
            f"{len(bad):,} of {len(alone):,} perturbations lie only in batches without a control: "
            f"{', '.join(bad[:3])}; their effect cannot be told from that of the batch",
            "leave them out, or repeat them beside controls",
        )
    ]


def unreadable(error: SchemaError) -> Finding:
    """Return the finding for labels that no rule can read."""
    return Finding("unreadable_labels", "error", str(error), "rewrite these labels")
