"""What the doctor says of a file: facts, findings, and the command that mends each."""

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


def counted(n: int, noun: str, verbs: str = "") -> str:
    """Return a number with its noun and the verb of one or many, as in "gene", "is are"."""
    one, _, many = verbs.partition(" ")
    verb = one if n == 1 else many
    return f"{n:,} {noun}{'' if n == 1 else 's'}{f' {verb}' if verb else ''}"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing."""

    code: str
    """a short name for machines, such as `no_control`"""
    severity: Severity
    """error: cannot be used so; warning: can mislead; note: good to know"""
    says: str
    """what was found, in plain words, with numbers and examples"""
    do: str
    """the option or command that mends it"""
    fixable: bool = False
    """whether `--fix` mends it"""


@dataclass(frozen=True)
class Report:
    """The findings of one file."""

    path: str
    facts: dict[str, Any] = field(default_factory=dict)
    """what the file is"""
    findings: tuple[Finding, ...] = ()

    @property
    def codes(self) -> set[str]:
        """The codes of all findings."""
        return {f.code for f in self.findings}

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of using the file."""
        return not any(f.severity == "error" for f in self.findings)

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "path": self.path,
            "ok": self.ok,
            "facts": self.facts,
            "findings": [vars(f) for f in self.findings],
        }

    def text(self) -> str:
        """Return what a person reads: facts, then findings, worst first."""
        lines = [self.path]
        lines += [f"  {name.replace('_', ' ')}: {value}" for name, value in self.facts.items()]
        for severity in SEVERITIES:
            for finding in self.findings:
                if finding.severity == severity:
                    lines.append(f"{severity}: {finding.says}")
                    lines.append(f"    -> {finding.do}")
        n = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        counted = ", ".join(f"{v} {k}{'s' * (v != 1)}" for k, v in n.items() if v)
        lines.append(counted or "nothing to mend")
        return "\n".join(lines)
