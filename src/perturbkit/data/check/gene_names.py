"""Approved, previous and alias names of human genes, as HGNC lists them; ambiguity is said."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import polars as pl

from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path, existing, sha256
from perturbkit.data.check.report import Finding, counted

FORMAT = 1
HGNC_COLUMNS = {
    "symbol": "symbol", "hgnc_id": "hgnc_id", "ensembl_gene_id": "ensembl", "entrez_id": "entrez",
    "alias_symbol": "alias", "prev_symbol": "previous",
}  # fmt: skip
"""Columns of HGNC's complete set that are kept, and their names here."""
SHIPPED = Path(__file__).with_name("gene_names.parquet")
SHIPPED_SHA256 = "eb0ed6492c54c791b42c40d614446809eef80d1a2a560841b18525a09a5beed0"
HOW = ("approved", "ensembl", "entrez", "previous", "alias", "ambiguous", "unknown")


@dataclass(frozen=True, eq=False)
class GeneNames:
    """The names of genes: a row for each approved symbol.

    A subset of human genes is shipped (`docs/gene_names.py` says of what it is made); build the
    whole table from HGNC's complete set: `perturbkit names hgnc_complete_set.txt -o names.parquet`.
    """

    table: pl.DataFrame
    """text columns symbol, hgnc_id, ensembl, entrez; lists alias, previous"""
    source: str
    """name and SHA-256 of the file it was built from"""

    @classmethod
    def read_hgnc(cls, path: str | Path) -> Self:
        """Read HGNC's `hgnc_complete_set.txt` (tab-separated).

        Raises:
            FileError: missing, or without its columns.
        """
        file = existing(path, "HGNC file")
        try:
            raw = pl.read_csv(file, separator="\t", infer_schema=False, quote_char='"')
        except (pl.exceptions.PolarsError, OSError) as error:
            message = f"{file} is no tab-separated table ({str(error)[:120]}); download it again"
            raise FileError(" ".join(message.split())) from error
        missing = [c for c in HGNC_COLUMNS if c not in raw.columns]
        if missing:
            message = (
                f"{file} lacks the column(s) {', '.join(missing)}; give hgnc_complete_set.txt "
                "from genenames.org"
            )
            raise FileError(message)
        lists = ("alias", "previous")
        table = raw.select(pl.col(c).fill_null("").alias(n) for c, n in HGNC_COLUMNS.items())
        table = table.filter(pl.col("symbol") != "").with_columns(
            pl.col(n).str.split("|").list.eval(pl.element().filter(pl.element() != ""))
            for n in lists
        )
        return cls(table, f"{file.name} sha256 {sha256(file)}")

    def save(self, path: str | Path) -> None:
        """Write the table as Parquet, atomically, with its source and layout."""
        about = json.dumps({"format": FORMAT, "source": self.source})
        with atomic_path(path) as temporary:
            self.table.write_parquet(temporary, metadata={"gene_names": about})

    @classmethod
    def load(cls, path: str | Path | None = None) -> Self:
        """Read what `save` wrote, or the shipped subset.

        Raises:
            FileError: missing, cut short, or not a table of gene names.
        """
        file = existing(path or SHIPPED, "table of gene names")
        if path is None and sha256(file) != SHIPPED_SHA256:
            message = f"{file} is not the table this version was made with; install it again"
            raise FileError(message)
        try:
            about = json.loads(pl.read_parquet_metadata(file)["gene_names"])
            table = pl.read_parquet(file, columns=list(HGNC_COLUMNS.values()))
        except (KeyError, ValueError, OSError, pl.exceptions.PolarsError) as error:
            message = (
                f"{file} is no table of gene names; make one: perturbkit names HGNC.txt -o ..."
            )
            raise FileError(message) from error
        if about.get("format") != FORMAT:
            message = f"{file} has layout {about.get('format')}; this version reads {FORMAT}"
            raise FileError(message)
        return cls(table, str(about["source"]))

    @cached_property
    def _sure(self) -> dict[str, tuple[str, str]]:
        """For each name that stands for one gene by itself: its symbol and how it is known."""
        out: dict[str, tuple[str, str]] = {}
        for column in ("entrez", "ensembl"):
            pairs = zip(self.table[column], self.table["symbol"], strict=True)
            out |= {name: (symbol, column) for name, symbol in pairs if name}
        return out | {symbol: (symbol, "approved") for symbol in self.table["symbol"]}

    @cached_property
    def _other(self) -> dict[str, dict[str, str]]:
        """For each previous or alias name: the symbols it may stand for, and how."""
        out: dict[str, dict[str, str]] = defaultdict(dict)
        for how in ("alias", "previous"):  # a previous name tells more than an alias
            for symbol, names in zip(self.table["symbol"], self.table[how], strict=True):
                for name in names:
                    out[name][symbol] = how
        return out

    def resolve(self, names: Iterable[str]) -> pl.DataFrame:
        """Return for each name its approved symbol and how it is known.

        An approved symbol stands for itself even where it is another gene's alias. A name that is
        the previous or alias name of several genes is `ambiguous`: no symbol, all candidates.

        Returns:
            Columns `name`, `symbol` (null where it is not certain), `how` (one of HOW),
            `candidates` (joined by `|`).
        """
        rows = [(name, *self._one(name)) for name in map(str, names)]
        columns = [(n, pl.String) for n in ("name", "symbol", "how", "candidates")]
        return pl.DataFrame(rows, schema=columns, orient="row")

    def _one(self, name: str) -> tuple[str | None, str, str]:
        if name in self._sure:
            symbol, how = self._sure[name]
            return symbol, how, symbol
        found = self._other.get(name, {})
        if len(found) == 1:
            symbol, how = next(iter(found.items()))
            return symbol, how, symbol
        return None, "ambiguous" if found else "unknown", "|".join(sorted(found))


def alias_findings(names: list[str], known: GeneNames) -> list[Finding]:
    """Return which readouts are one gene under two names, old names, or unclear."""
    table = known.resolve(names)
    out = []
    twice = (
        table.drop_nulls("symbol").group_by("symbol", maintain_order=True)
        .agg(pl.col("name").unique(maintain_order=True)).filter(pl.col("name").list.len() > 1)
    )  # fmt: skip
    if twice.height:
        some = [f"{' and '.join(r)} are {s}" for s, r in twice.head(3).rows()]
        out.append(Finding("aliased_genes", "warning",
            f"{counted(twice.height, 'gene', 'is are')} "
            f"there under several names: {'; '.join(some)}",
            "add them up under the approved name before reading"))  # fmt: skip
    old = table.filter(pl.col("how").is_in(["previous", "alias"]))
    if old.height:
        some = [f"{n} -> {s}" for n, s in old.select("name", "symbol").head(3).rows()]
        out.append(Finding("old_symbols", "note",
            f"{counted(old.height, 'readout', 'has have')} "
            f"a previous or alias name: {', '.join(some)}",
            "keep one spelling in all files and networks"))  # fmt: skip
    unclear = table.filter(pl.col("how") == "ambiguous")
    if unclear.height:
        some = [f"{n} ({c})" for n, c in unclear.select("name", "candidates").head(3).rows()]
        out.append(Finding("ambiguous_genes", "note",
            f"{counted(unclear.height, 'name', 'stands stand')} "
            f"for several genes: {', '.join(some)}",
            "name them by hand; they are left as they are"))  # fmt: skip
    return out
