"""Measured screens as tables of hits, for replay: one score for each gene or gene pair."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import FileError, SchemaError, unknown_name
from perturbkit.core.files import existing

TOP_SHARE = 0.05
"""Where no list of hits is published, the 5 % most extreme scores are hits (GeneDisco's rule)."""


@dataclass(frozen=True, eq=False)
class HitTable:
    """A screen that was measured in full."""

    name: str
    conditions: tuple[str, ...]
    """genes, or pairs as "A+B", without repeats"""
    score_c: np.ndarray
    """float64 [c], what was measured"""
    hit_c: np.ndarray
    """bool [c]"""
    study: str = ""
    """screens of one study share it: they may not be priors for each other unless said so"""

    def without(self, names: set[str]) -> "HitTable":
        """Return the table without conditions that touch any of these genes."""
        keep = np.array([not names.intersection(c.split("+")) for c in self.conditions])
        return self.select(np.flatnonzero(keep))

    def select(self, rows: np.ndarray) -> "HitTable":
        """Return some conditions."""
        names = tuple(self.conditions[int(i)] for i in rows)
        return replace(self, conditions=names, score_c=self.score_c[rows], hit_c=self.hit_c[rows])

    def shuffled(self, rng: np.random.Generator) -> "HitTable":
        """Return the same scores and hits on permuted conditions: nothing can be learned."""
        order = rng.permutation(len(self.conditions))
        return replace(self, score_c=self.score_c[order], hit_c=self.hit_c[order])


def read_hit_table(path: str | Path) -> HitTable:
    """Read a screen by its file; published formats are recognised by their columns.

    `Gene,Score` (with `topmovers_*.npy` beside it as the hits, else the 5 % most extreme),
    `Gene_pairs,Score`, MAGeCK test (`pos|p-value`), MAGeCK MLE (`Rep1|z`), and Replogle's summary
    (`Number of DEGs`).

    Raises:
        FileError: missing or not a table.
        SchemaError: columns of no known format.
    """
    path = existing(path, "screen")
    try:
        separator = "\t" if ".txt" in path.suffixes or path.suffix == ".tsv" else ","
        table = pl.read_csv(path, separator=separator, infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = f"{path} is no table ({error}); give the screen as CSV"
        raise FileError(message) from error
    table = table.rename({c: c.lstrip("\ufeff").strip() for c in table.columns})
    for marks, read in _FORMATS:
        if marks <= set(table.columns):
            names, score, hit = read(table, path)
            return _unique(path, names, score, hit)
    message = (
        f"{path} has the columns {', '.join(table.columns[:8])}; a screen needs Gene and Score, "
        "Gene_pairs and Score, or a MAGeCK gene summary"
    )
    raise SchemaError(message)


Found = tuple[list[str], np.ndarray, np.ndarray | None]


def _gene_score(table: pl.DataFrame, path: Path) -> Found:
    names = table["Gene"].cast(pl.String).to_list()
    listed = path.with_name(path.name.split(".")[0].replace("ground_truth", "topmovers") + ".npy")
    hit = None
    if "ground_truth" in path.name and listed.exists():
        published = set(np.load(listed, allow_pickle=False).astype(str).tolist())
        hit = np.array([n in published for n in names])
    elif "Hit" in table.columns:
        hit = table["Hit"].cast(pl.Boolean).to_numpy()
    return names, table["Score"].cast(pl.Float64).to_numpy(), hit


def _pairs(table: pl.DataFrame, path: Path) -> Found:
    del path
    names = ["+".join(sorted(ast.literal_eval(p))) for p in table["Gene_pairs"]]
    return names, table["Score"].cast(pl.Float64).to_numpy(), None


def _mageck_test(table: pl.DataFrame, path: Path) -> Found:
    del path
    p = table["pos|p-value"].cast(pl.Float64).to_numpy()
    score = -np.log10(np.maximum(p, 1e-12))
    return table["id"].cast(pl.String).to_list(), score, _top(score, sides="high")


def _mageck_mle(table: pl.DataFrame, path: Path) -> Found:
    del path
    columns = [c for c in table.columns if c.endswith("|z")]
    score = table.select(pl.mean_horizontal(columns))[:, 0].fill_null(0.0).to_numpy()
    return table["Gene"].cast(pl.String).to_list(), score, None


def _replogle(table: pl.DataFrame, path: Path) -> Found:
    del path
    table = table.filter(~pl.col("gene").str.contains("non-targeting"))
    n = pl.col("Number of DEGs (anderson-darling)").cast(pl.Float64, strict=False)
    table = table.group_by("gene", maintain_order=True).agg(n.max()).drop_nulls()
    score = np.log1p(table[:, 1].to_numpy())
    return table["gene"].to_list(), score, _top(score, sides="high")


_FORMATS: list[tuple[set[str], Callable[[pl.DataFrame, Path], Found]]] = [
    ({"gene", "Number of DEGs (anderson-darling)"}, _replogle),
    ({"Gene", "Score"}, _gene_score),
    ({"Gene_pairs", "Score"}, _pairs),
    ({"id", "pos|p-value"}, _mageck_test),
    ({"Gene", "Rep1|z"}, _mageck_mle),
]


def _top(score: np.ndarray, sides: str = "both") -> np.ndarray:
    extreme = np.abs(score - np.median(score)) if sides == "both" else score
    return extreme >= np.sort(extreme)[-max(1, int(TOP_SHARE * len(score)))]


def _unique(path: Path, names: list[str], score: np.ndarray, hit: np.ndarray | None) -> HitTable:
    # by name: in the order of a file that is sorted by its outcome, ties would tell the outcome
    _, rows = np.unique(names, return_index=True)
    rows = rows[np.isfinite(score[rows])]
    hit = _top(score) if hit is None else hit
    kept = tuple(str(names[int(i)]) for i in rows)
    stem = path.name.split(".")[0].removeprefix("ground_truth_")
    return HitTable(stem, kept, score[rows], hit[rows], STUDIES.get(stem, stem))


def size_by_gene(table: HitTable) -> dict[str, float]:
    """Return how extreme each condition's score is, larger where a hit is likelier."""
    score = table.score_c
    size = score if score.min() >= 0 else np.abs(score - np.median(score))
    return dict(zip(table.conditions, size.tolist(), strict=True))


STUDIES = {"IFNG": "Schmidt 2022", "IL2": "Schmidt 2022"}

REPLAYS = {
    "ifng": "screens/ground_truth_IFNG.csv",
    "il2": "screens/ground_truth_IL2.csv",
    "sanchez": "screens/ground_truth_Sanchez21.csv",
    "nk": "screens/zhuang_2019_nk.gene_summary.txt.gz",
    "sars_cov_2": "screens/zhu_2021_sarscov2.csv.gz",
    "horlbeck": "screens/ground_truth_Horlbeck.csv.gz",
    "replogle_k562": "replogle2022/k562_gwps_day8.csv.gz",
}
"""Screens for replay by name, and where they lie in a folder of real data."""


def open_replay(name_or_path: str | Path, folder: str | Path | None = None) -> HitTable:
    """Open a screen for replay by its name in a folder of real data, or by its path.

    Raises:
        UnknownNameError: neither a known name nor an existing file.
        FileError: the file is missing.
    """
    if Path(name_or_path).exists():
        return read_hit_table(name_or_path)
    name = str(name_or_path)
    if name not in REPLAYS and ("/" in name or "." in name):
        return read_hit_table(existing(name, "screen"))
    if name not in REPLAYS:
        raise unknown_name("screen for replay", name, REPLAYS)
    if folder is None:
        message = f"{name!r} is read from a folder of real data; state it, or give a path"
        raise FileError(message)
    return read_hit_table(Path(folder) / REPLAYS[name])


def read_essentials(path: str | Path) -> set[str]:
    """Read a list of essential genes: a column GENE, or a name on each line."""
    lines = existing(path, "list of genes").read_text(encoding="utf-8").splitlines()
    genes = {line.split("\t")[0].strip() for line in lines if line.strip()}
    return genes - {"GENE", "gene"}
