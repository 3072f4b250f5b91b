"""Build the table of gene names that is shipped: `python -m docs.gene_names FOLDER`.

FOLDER is the folder of development data. Four lists of human genes that were made at different
times are compared by Entrez id: where the id is the same and the symbol another, the older symbol
is a previous one. A gene is kept only if its newest symbol still stands in a list of 2024 (STRING,
Reactome or the Gene Ontology), so nothing that is out of date is called approved, and a symbol that
stands there is nobody's previous one.
"""

import gzip
import sys
from pathlib import Path

import polars as pl

from perturbkit.core.files import sha256
from perturbkit.data.check.gene_names import SHIPPED, GeneNames

LISTS = {  # the newest first
    "screens/CEGv2.txt": ("ENTREZ_ID", "GENE", "HGNC_ID"),
    "l1000/GSE92742_gene_info.txt.gz": ("pr_gene_id", "pr_gene_symbol", None),
    "l1000/dhimmel_geneinfo.tsv.gz": ("pr_gene_id", "pr_gene_symbol", None),
}
CURRENT = ("graphs/reactome.gmt.gz", "graphs/go_all.gmt.gz")
RENAMED_2020 = {
    **{f"SEPT{i}": f"SEPTIN{i}" for i in range(1, 15)},
    **{f"MARCH{i}": f"MARCHF{i}" for i in range(1, 12)},
    "MARC1": "MTARC1", "MARC2": "MTARC2", "DEC1": "DELEC1",
}  # fmt: skip
"""Symbols that HGNC changed because spreadsheets make dates of them."""


def current(folder: Path) -> set[str]:
    """Return the symbols of the lists of 2024."""
    string = pl.read_csv(folder / "graphs/pathfindR_pin_string.csv.gz")
    out = set(string["gene1"]) | set(string["gene2"])
    for name in CURRENT:
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            for line in file:
                out |= set(line.rstrip("\n").split("\t")[2:])
    return out


def build(folder: Path) -> GeneNames:
    """Compare the lists and return the table."""
    names: dict[str, list[str]] = {}
    hgnc: dict[str, str] = {}
    for name, (entrez, symbol, identifier) in LISTS.items():
        table = pl.read_csv(folder / name, separator="\t", infer_schema=False)
        for row in table.iter_rows(named=True):
            key, said = (row[entrez] or "").strip(), (row[symbol] or "").strip()
            if not key.isdigit() or not said or " " in said:
                continue
            known = names.setdefault(key, [])
            if said not in known:
                known.append(said)
            if identifier is not None:
                hgnc[key] = (row[identifier] or "").strip()
    in_use = current(folder)
    rows = []
    for key, known in sorted(names.items(), key=lambda item: int(item[0])):
        newest = RENAMED_2020.get(known[0], known[0])
        # a symbol that is in use again, or still, is no sign of another gene
        older = [n for n in known if n != newest and n not in in_use]
        if newest in in_use:
            rows.append((newest, hgnc.get(key, ""), "", key, [], older))
    schema = {"symbol": pl.String, "hgnc_id": pl.String, "ensembl": pl.String,
              "entrez": pl.String, "alias": pl.List(pl.String),
              "previous": pl.List(pl.String)}  # fmt: skip
    table = pl.DataFrame(rows, schema=schema, orient="row")
    twice = table.filter(pl.col("symbol").is_duplicated())["symbol"].unique().to_list()
    table = table.filter(~pl.col("symbol").is_in(twice))  # two ids claim it: not certain
    source = (
        "the shipped subset of human genes: symbols and Entrez ids of the L1000 gene tables "
        "(LINCS, CC BY 4.0) and CEGv2, current in the STRING, Reactome or GO lists of 2024; no "
        "Ensembl ids, no aliases. `perturbkit names hgnc_complete_set.txt` builds the whole table"
    )
    return GeneNames(table, source)


def main() -> None:
    """Build the table from the folder named on the command line and write it."""
    known = build(Path(sys.argv[1]))
    known.save(SHIPPED)
    sys.stdout.write(f"{known.table.height:,} genes in {SHIPPED.name}, sha256 {sha256(SHIPPED)}\n")


if __name__ == "__main__":
    main()
