"""The names of the readouts: repeats, identifiers, dates, species."""

import re
from collections import Counter

from perturbkit.data.check.report import Finding, counted

ENSEMBL = re.compile(r"^ENS[A-Z]*G\d{6,}(\.\d+)?$")
VERSION = re.compile(r"^(ENS[A-Z]*G\d{6,})\.\d+$")
DATE = re.compile(
    r"^(?:(\d{1,2})-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)"
    r"|(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)-(\d{1,2}))$",
    re.IGNORECASE,
)
RENAMED = re.compile(r"^(SEPT\d{1,2}|MARCH\d{1,2}|MARC[12]|DEC1)$")
PREFIX = re.compile(r"^(GRCh3[78]|hg19|hg38|mm10|mm39|GRCm3[89])_+")
MOUSE = re.compile(r"^[A-Z][a-z][A-Za-z0-9\-.]*$")
HUMAN = re.compile(r"^[A-Z][A-Z0-9\-.]+$")
SYMBOL_COLUMNS = (
    "gene_name",
    "gene_symbol",
    "gene_symbols",
    "feature_name",
    "gene_short_name",
    "symbol",
)
AMBIGUOUS_DATES = {("mar", 1): ("MARCHF1", "MTARC1"), ("mar", 2): ("MARCHF2", "MTARC2")}


def gene_of_date(name: str) -> str | None:
    """Return the gene that a spreadsheet made a date of; None where it can be two, or none."""
    match = DATE.match(name)
    if match is None:
        return None
    day, month = int(match[1] or match[4]), (match[2] or match[3])[:3].casefold()
    if month == "mar" and day not in (1, 2):
        return f"MARCHF{day}"
    return {"sep": f"SEPTIN{day}", "dec": "DELEC1" if day == 1 else None}.get(month)


def gene_findings(names: list[str], columns: list[str]) -> list[Finding]:
    """Return what is wrong with the names of the readouts.

    Args:
        names: the names, in order.
        columns: the columns of `var`, where symbols may be.
    """
    out: list[Finding] = []
    n = len(names)
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        out.append(
            Finding(
                "duplicate_genes",
                "error",
                f"{counted(len(twice), 'readout name', 'occurs occur')} "
                f"more than once, for example {_some(twice)}",
                "--fix adds up the counts of one name (and averages other units)",
                fixable=True,
            )
        )
    versions = [name for name in names if VERSION.match(name)]
    if versions:
        out.append(
            Finding(
                "ensembl_versions",
                "warning",
                f"{counted(len(versions), 'Ensembl name', 'carries carry')} "
                f"a version, for example {_some(versions)}",
                "--fix takes the versions off",
                fixable=True,
            )
        )
    ensembl = [name for name in names if ENSEMBL.match(name)]
    symbols = next((c for c in SYMBOL_COLUMNS if c in columns), None)
    there = f"--set readouts={symbols} takes the symbols" if symbols else "map them to symbols"
    if 0.01 * n < len(ensembl) < 0.99 * n:
        out.append(
            Finding(
                "mixed_names",
                "warning",
                f"{len(ensembl):,} of {n:,} readouts have Ensembl names and the others symbols",
                there,
                symbols is not None,
            )
        )
    elif len(ensembl) >= 0.99 * n:
        out.append(
            Finding(
                "ensembl_names",
                "note",
                f"readouts have Ensembl names, such as {_some(ensembl)}",
                there,
            )
        )
    out += _date_findings(names)
    return out + _species_findings(names)


def _date_findings(names: list[str]) -> list[Finding]:
    out = []
    dates = [name for name in names if DATE.match(name)]
    if dates:
        unclear = [d for d in dates if gene_of_date(d) is None]
        n = counted(len(dates), "readout name")
        says = f"a spreadsheet made dates of {n}: {_some(dates)}"
        do = "--fix gives them their genes back"
        if unclear:
            do += f", but not {_some(unclear)}, which can be two genes: name them by hand"
        out.append(Finding("excel_dates", "error", says, do, len(unclear) < len(dates)))
    old = [name for name in names if RENAMED.match(name)]
    if old:
        out.append(
            Finding(
                "renamed_genes",
                "note",
                f"{counted(len(old), 'name', 'was were')} "
                f"changed in 2020, as spreadsheets make dates of them: "
                f"{_some(old)}",
                "SEPT6 is now SEPTIN6, MARCH1 MARCHF1, MARC1 MTARC1; keep one spelling everywhere",
            )
        )
    return out


def _species_findings(names: list[str]) -> list[Finding]:
    prefixes = Counter(m[1] for name in names if (m := PREFIX.match(name)))
    mouse = [name for name in names if MOUSE.match(name) and not DATE.match(name)]
    human = [name for name in names if HUMAN.match(name) and not ENSEMBL.match(name)]
    kinds = Counter(
        "mouse" if x.startswith("ENSMUS") else "human"
        for x in names
        if x.startswith(("ENSMUSG", "ENSG"))
    )
    small = 0.05 * len(names)
    mixed = min(len(mouse), len(human)) > small or len(prefixes) > 1
    if mixed or (len(kinds) > 1 and min(kinds.values()) > small):
        found = ", ".join(prefixes) or f"{_some(human)} and {_some(mouse)}"
        return [
            Finding(
                "mixed_species",
                "error",
                f"readouts of two species: {found}",
                "keep the cells and genes of one species before reading",
            )
        ]
    if prefixes:
        return [
            Finding(
                "genome_prefix",
                "warning",
                f"{sum(prefixes.values()):,} names begin with {next(iter(prefixes))}_",
                "--fix takes the prefix off",
                fixable=True,
            )
        ]
    return []


def _some(names: list[str]) -> str:
    return ", ".join(names[:3])
