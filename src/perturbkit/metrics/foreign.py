"""Anyone's predictions, scored: h5ad, .prep.vcc, CSV or Parquet; cells or means."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

from perturbkit.core.condition import CONDITION_SCHEMA, CONTROL
from perturbkit.core.config import Config
from perturbkit.core.errors import FileError, SchemaError, UnitError, unknown_name
from perturbkit.core.files import existing
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.core.units import UNITS
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.profiles import responses_of
from perturbkit.data.read.h5ad import STAMP, read_adata
from perturbkit.metrics.align import mean_over_conditions
from perturbkit.metrics.cells.pair import Rules
from perturbkit.metrics.cells.run import profile_cards, score_cells
from perturbkit.metrics.score import CEILING, score
from perturbkit.metrics.vcc import (
    log_normalized,
    read_submission,
    replicate_score,
    scaled_score,
    whole_counts,
)

PERTURBATION_COLUMNS = ("perturbation", "target_gene", "target", "condition", "gene",
                        "guide_identity", "drug", "treatment")  # fmt: skip
CONTROL_LABELS = (CONTROL, "non-targeting", "ctrl", "NTC", "NT", "non_targeting", "DMSO", "vehicle")
CONTEXT_COLUMNS = ("context", "cell_type", "celltype", "cell_line")
TOTAL = 1e4
"""What counts are normalized to, on both sides alike."""


class ForeignOptions(Config):
    """How to read the two files; what is not stated is looked for under the usual names."""

    perturbation: str | None = None
    """column with each row's perturbation"""
    control: str | None = None
    """label of the controls"""
    context: str | None = None
    """column with the context"""
    unit: Literal["log1p_cp10k", "log2fc", "zscore", "signed_rank", "score"] = "log1p_cp10k"
    """unit of means; cells are counts or log-normalized"""
    profile: Literal[
        "full", "vcc", "minimal", "vcc2026", "distribution", "perturbench", "state"
    ] = "full"
    """which metrics of cells"""
    compat: Literal["perturbkit", "cell-eval"] = "perturbkit"
    """whose rules"""


@dataclass(frozen=True, eq=False)
class ForeignScores:
    """What `score_foreign` found."""

    table: pl.DataFrame
    """a row per metric: value, low, high, n, baseline, ceiling, better, best, reason"""
    notes: list[str]
    """what could not be compared, and how the files were read"""

    @property
    def complete(self) -> bool:
        """Whether every metric has a value; the command fails where not."""
        return bool(self.table["value"].is_not_nan().all())


def score_foreign(
    predicted: str | Path,
    truth: str | Path,
    options: ForeignOptions,
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 1000,
) -> ForeignScores:
    """Score a file of predictions against a file of measurements.

    Two files of cells get the metrics of cells; otherwise both become means by condition.

    Raises:
        FileError: a file is missing, damaged or of another format.
        SchemaError: columns are missing, or nothing is in common.
        UnitError: mixed units or scales.
    """
    measured = read_side(truth, options, "truth")
    controls = measured if options.compat == "perturbkit" else None
    offered = read_side(predicted, options, "predictions", controls=controls)
    if isinstance(measured, Screen) and isinstance(offered, Screen):
        rules: Rules = options.compat
        found = score_cells(
            measured, offered, metrics=profile_cards(options.profile), rules=rules, rng=rng,
            n_bootstrap=n_bootstrap,
        )  # fmt: skip
        table = found.table
        if options.profile == "vcc":
            table = pl.concat([table, _challenge_row(table, clip=rules == "cell-eval")])
        if options.profile == "vcc2026":
            table = pl.concat([table, _replicate_row(table)])
        return ForeignScores(table, found.notes)
    if options.profile == "vcc2026":
        message = "the profile vcc2026 needs counts of cells on both sides, and one holds means"
        raise UnitError(message)
    if options.compat == "cell-eval":
        message = (
            "cell-eval's rules need cells on both sides, and one side holds means; drop --compat, "
            "or give cells"
        )
        raise UnitError(message)
    sides = [responses_of(s) if isinstance(s, Screen) else s for s in (measured, offered)]
    return _score_means(sides[0], sides[1], rng, n_bootstrap)


def _challenge_row(table: pl.DataFrame, *, clip: bool) -> pl.DataFrame:
    """The challenge's score of 0 to 100, scaled by the baseline of these data."""
    columns = [dict(table.select("metric", c).rows()) for c in ("value", "baseline", "ceiling")]
    value, ceiling = (scaled_score(c, columns[1], clip=clip)["score"] for c in columns[::2])
    nan = float("nan")
    row = {"metric": "vcc_score", "value": value, "low": nan, "high": nan,
           "n": int(table["n"].min()), "baseline": 0.0, "ceiling": ceiling,  # pyright: ignore
           "better": "higher", "best": 100.0, "reason": ""}  # fmt: skip
    return pl.DataFrame([row], schema=table.schema)


def _replicate_row(table: pl.DataFrame) -> pl.DataFrame:
    """The score of 2026: 0 is the mean response, 100 one half of the cells predicting the other."""
    columns = [dict(table.select("metric", c).rows()) for c in ("value", "baseline", "ceiling")]
    value = replicate_score(columns[0], columns[1], columns[2])["score"]
    nan = float("nan")
    reason = "" if np.isfinite(value) else "a metric has no value, or replicate equals baseline"
    row = {"metric": "vcc2026_score", "value": value, "low": nan, "high": nan,
           "n": int(table["n"].min()), "baseline": 0.0, "ceiling": 100.0,  # pyright: ignore
           "better": "higher", "best": nan, "reason": reason}  # fmt: skip
    return pl.DataFrame([row], schema=table.schema)


def _score_means(
    truth: Responses, predicted: Responses, rng: np.random.Generator, n_bootstrap: int
) -> ForeignScores:
    """Score means by condition, beside the mean of the measured perturbations and the ceiling."""
    baseline = "mean of the measured perturbations"
    perturbed = truth.select(~truth.is_control)
    means = np.empty_like(perturbed.mean_cg)
    for context in np.unique(perturbed.contexts):
        rows = perturbed.contexts == context
        means[rows] = mean_over_conditions(perturbed.mean_cg[rows])
    mean = replace(perturbed, values=np.nan_to_num(means)[None], halves=None)
    scores = score(
        truth, {"predictions": predicted, baseline: mean}, train=truth, rng=rng,
        n_bootstrap=n_bootstrap,
    )  # fmt: skip
    table = scores.table.filter(model="predictions").drop("model")
    for name, model in (("baseline", baseline), ("ceiling", CEILING)):
        other = scores.table.filter(model=model).select("metric", pl.col("value").alias(name))
        table = table.join(other, on="metric", how="left", maintain_order="left")
    table = table.with_columns(pl.col("baseline", "ceiling").fill_null(float("nan")))
    order = ["metric", "value", "low", "high", "n", "baseline", "ceiling", "better", "best",
             "reason"]  # fmt: skip
    return ForeignScores(table.select(order), scores.notes)


def read_side(
    path: str | Path,
    options: ForeignOptions,
    whose: str,
    *,
    controls: Screen | Responses | None = None,
) -> Screen | Responses:
    """Read one file: cells become a Screen, means become Responses.

    Args:
        path: the file.
        options: how to read it.
        whose: "truth" or "predictions", for errors.
        controls: measured cells whose controls stand beside predicted cells that have none.

    Raises:
        FileError: missing, damaged, or a format that is not read.
        SchemaError: a column or a control label cannot be found.
    """
    file = existing(path, whose)
    if file.name.endswith(".vcc"):
        return _of_adata(read_submission(file), options, file, controls)
    if file.suffix == ".h5ad":
        return _of_adata(read_adata(file), options, file, controls)
    if file.suffix == ".parquet":
        metadata = _attempt(pl.read_parquet_metadata, file)
        if "perturbkit" in metadata:
            return Responses.load(file)
        return _of_table(_attempt(pl.read_parquet, file), options, file)
    if file.suffix in (".csv", ".tsv"):
        separator = "\t" if file.suffix == ".tsv" else ","
        return _of_table(_attempt(pl.read_csv, file, separator=separator), options, file)
    message = (
        f"{file} has the ending {file.suffix!r}; {whose} are read from .h5ad, .vcc, .csv, .tsv or "
        ".parquet"
    )
    raise FileError(message)


def _attempt(reader: Any, file: Path, **options: Any) -> Any:
    try:
        return reader(file, **options)
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"{file} cannot be read ({error}); write it again"
        raise FileError(message) from error


def _of_adata(
    adata: ad.AnnData, options: ForeignOptions, file: Path, controls: Screen | Responses | None
) -> Screen | Responses:
    """Cells, or means where no condition has a second row."""
    column = _find(options.perturbation, PERTURBATION_COLUMNS, list(adata.obs.columns), file)
    label = _control(options.control, adata.obs[column].astype(str).unique().tolist(), file)
    adata.obs["perturbation"] = adata.obs[column].astype(str).replace({label: CONTROL})
    columns = {}
    context = options.context or next((c for c in CONTEXT_COLUMNS if c in adata.obs), None)
    if context:
        columns["context"] = _find(context, (), list(adata.obs.columns), file)
    stamp = adata.uns.get(STAMP)
    stated = isinstance(stamp, dict) and stamp.get("level") == "profiles"
    by = ["perturbation", *columns.values()]
    bare = CONTROL not in set(adata.obs["perturbation"])
    if stated or not adata.obs.duplicated(by).any():
        unit = str(stamp["unit"]) if stated and isinstance(stamp, dict) else options.unit
        screen = Screen.of(adata, level="profiles", unit=unit, columns=columns)  # pyright: ignore
        return responses_of(screen)
    matrix = sparse.csr_matrix(adata.X, dtype=np.float32)
    unit = "counts" if options.profile == "vcc2026" else "log1p_cp10k"
    if unit == "counts":
        adata.X = whole_counts(matrix, file.name)
    else:
        total = None if options.compat == "cell-eval" else TOTAL
        adata.X = log_normalized(matrix, file.name, total)
    if bare and isinstance(controls, Screen):
        adata = _with_controls(adata, controls, columns.get("context"), file)
    return Screen.of(adata, level="cells", unit=unit, columns=columns)


def _with_controls(
    adata: ad.AnnData, measured: Screen, context: str | None, file: Path
) -> ad.AnnData:
    """Put the measured control cells beside predictions that have none."""
    shared = [g for g in adata.var_names if g in measured.readouts]
    if not shared:
        message = f"{file.name} and truth have no gene in common; map gene names to one kind first"
        raise SchemaError(message)
    own = measured.adata[(measured.adata.obs["perturbation"] == CONTROL).to_numpy()][:, shared]
    obs = own.obs[["perturbation"]].astype(str)
    if context:
        obs[context] = own.obs["context"].astype(str)
    obs.index = [f"measured control {i}" for i in range(len(obs))]
    matrix = sparse.vstack([adata[:, shared].X, sparse.csr_matrix(own.X)], format="csr")
    columns = ["perturbation", *([context] if context else [])]
    both = pd.concat([adata.obs[columns].astype(str), obs])
    return ad.AnnData(matrix, obs=both, var=pd.DataFrame(index=pd.Index(shared)))


def _of_table(table: pl.DataFrame, options: ForeignOptions, file: Path) -> Responses:
    """Means by condition: columns of the condition, then a column per readout."""
    column = _find(options.perturbation, PERTURBATION_COLUMNS, table.columns, file)
    labels = table[column].cast(pl.String).to_list()
    known = options.control or next((c for c in CONTROL_LABELS if c in labels), CONTROL)
    table = table.rename({column: "perturbation"}) if column != "perturbation" else table
    context = options.context or next((c for c in CONTEXT_COLUMNS if c in table.columns), None)
    if context and context != "context":
        table = table.rename({context: "context"})
    table = table.with_columns(pl.col("perturbation").cast(pl.String).replace({known: CONTROL}))
    about = [c for c in (*CONDITION_SCHEMA, "n_cells", "status") if c in table.columns]
    readouts = [c for c in table.columns if c not in about]
    bad = [c for c in readouts if not table[c].dtype.is_numeric()]
    if bad or not readouts:
        message = (
            f"{file.name}: column {bad[0]!r} holds text" if bad else f"{file.name} has no readout"
        )
        message += "; besides the condition's columns every column is a readout of numbers"
        raise SchemaError(message)
    if options.unit not in UNITS:
        raise unknown_name("unit", options.unit, UNITS)
    values = table.select(readouts).cast(pl.Float32).to_numpy()
    return Responses(
        values[None], table.select(about), Vocabulary(readouts, "readout"), options.unit
    )


def _find(stated: str | None, usual: tuple[str, ...], columns: list[str], file: Path) -> str:
    """Name of the column stated, or the first usual one there is."""
    if stated:
        if stated not in columns:
            raise SchemaError(f"{file.name}: {unknown_name('column', stated, columns)}")
        return stated
    for name in usual:
        if name in columns:
            return name
    message = (
        f"{file.name} has the columns {', '.join(map(str, columns[:12])) or 'none'}, none of which "
        f"is {' or '.join(usual[:3])}; state --perturbation with the one that says what was done"
    )
    raise SchemaError(message)


def _control(stated: str | None, labels: list[str], file: Path) -> str:
    """Label of the controls: the one stated, or the first usual one there is."""
    if stated:
        if stated not in labels:
            raise SchemaError(f"{file.name}: {unknown_name('control label', stated, labels)}")
        return stated
    return next((c for c in CONTROL_LABELS if c in labels), CONTROL)
