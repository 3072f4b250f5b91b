"""Whether the targets are measured, and whether they fall."""

from perturbkit.core.condition import CONTROL, Condition
from perturbkit.data.check.labels import Reading
from perturbkit.data.check.report import Finding, counted

FEW_READOUTS = 10


def target_findings(
    reading: Reading, readouts: list[str], level_of: dict[str, tuple[float, float]] | None
) -> list[Finding]:
    """Return which targets are not measured, and which knock-downs do not show.

    Args:
        reading: the labels.
        readouts: names of the readouts.
        level_of: for each perturbation the mean total-normalized level of its target, there and
            in the controls; None where the values have no level.
    """
    if len(readouts) < FEW_READOUTS:  # scores and gene summaries: nothing to look for
        return []
    if reading.rule is None or ("kind" in reading.obs and set(reading.obs["kind"]) <= {"drug"}):
        return []
    singles = {
        p: c.targets[0]
        for p in reading.obs["perturbation"].unique()
        if len((c := Condition.parse(p)).targets) == 1
    }
    where = set(readouts)
    absent = sorted({t for t in singles.values() if t not in where})
    out, targets = [], set(singles.values())
    if absent and len(absent) < len(targets):
        out.append(
            Finding(
                "target_not_measured",
                "note",
                f"{len(absent):,} of {len(targets):,} targets are not among the readouts: "
                f"{', '.join(absent[:3])}",
                "their knock-down cannot be checked; nothing to mend",
            )
        )
    elif absent and targets:
        out.append(
            Finding(
                "no_target_measured",
                "warning",
                f"none of the {len(targets):,} targets is among the readouts ({absent[0]} ... "
                f"against {', '.join(readouts[:2])} ...)",
                "check that both use the same kind of names; for drugs say --set kind=drug",
            )
        )
    if level_of is None:
        return out
    lowered = _lowered(reading)
    silent = []
    for p in singles:
        now, before = level_of.get(p, (0.0, 0.0))
        if p in lowered and before > 0.05 and now > 0.8 * before:
            silent.append(f"{p} ({now / before:.0%} of control)")
    if silent:
        out.append(
            Finding(
                "no_knockdown",
                "warning",
                f"{counted(len(silent), 'perturbation', 'does do')} "
                f"not lower the target: {', '.join(silent[:3])}",
                "--set min_knockdown=0.3 in prepare leaves them out (knock-outs may keep RNA)",
            )
        )
    return out


def _lowered(reading: Reading) -> set[str]:
    """Return the perturbations whose kind lowers the target's RNA."""
    obs = reading.obs
    if "kind" not in obs.columns:
        return set()
    rows = obs["kind"].astype(str).isin(["crispri", "ko"])
    return set(obs.loc[rows, "perturbation"].astype(str)) - {CONTROL}
