"""Tables of differential expression and of CRISPR screens, as other tools write them."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import CONDITION_SCHEMA
from perturbkit.core.errors import SchemaError

FOLDS = ("log2FoldChange", "log2fc", "logFC", "logfoldchanges", "avg_log2FC", "log2_fold_change")
"""Fold changes of DESeq2, ours, edgeR and limma, scanpy, Seurat, Spark."""
GENES = ("readout", "gene", "names", "symbol", "gene_symbol", "gene_name", "feature", "gene_id",
         "Gene", "ID", "")  # fmt: skip
LABELS = ("perturbation", "group", "contrast", "comparison", "cluster")
BESIDES = {
    "standard_error": ("lfcSE", "SE"),
    "p_value": ("pvalue", "p_value", "pvals", "PValue", "P.Value", "p_val"),
    "fdr": ("padj", "fdr", "pvals_adj", "FDR", "adj.P.Val", "p_val_adj"),
}
"""What is kept beside the fold change, as layers, and its names."""


def is_contrasts(table: pl.DataFrame) -> bool:
    """Return whether a table holds a fold change and a name in each row."""
    return _first(table, FOLDS) is not None and _first(table, GENES) is not None


def long_contrasts(table: pl.DataFrame, label: str | None) -> dict[str, pl.DataFrame]:
    """Return a table of differential expression as long tables.

    Args:
        table: a row for each gene, of one contrast or, with a column that names them, of several.
        label: the perturbation of a table of one contrast.

    Returns:
        Under `value` the fold changes, and those of BESIDES that are there; each has the columns
        perturbation, readout, value and those of conditions that the table has.

    Raises:
        SchemaError: nothing says which perturbation it is of.
    """
    fold, gene, names = _first(table, FOLDS), _first(table, GENES), _first(table, LABELS)
    if names is None and label is None:
        message = (
            f"the table holds one contrast ({fold} of {table.height:,} genes) and does not say of "
            "which perturbation; state it: --set label=NAME"
        )
        raise SchemaError(message)
    labelled = pl.col(names) if names is not None and label is None else pl.lit(label)
    kept = [c for c in CONDITION_SCHEMA if c != "perturbation" and c in table.columns]
    columns = {"value": fold} | {n: _first(table, c) for n, c in BESIDES.items()}
    return {
        name: table.select(
            labelled.cast(pl.String).alias("perturbation"),
            pl.col(str(gene)).cast(pl.String).alias("readout"),
            pl.col(column).cast(pl.Float64, strict=False).alias("value"),
            *kept,
        )
        for name, column in columns.items()
        if column is not None
    }


def is_mageck(table: pl.DataFrame) -> bool:
    """Return whether a table is a gene summary of MAGeCK, of `test` or of `mle`."""
    columns = set(table.columns)
    test = "id" in columns and any(c.startswith(("neg|", "pos|")) for c in columns)
    return test or ("Gene" in columns and any(c.endswith("|beta") for c in columns))


def from_mageck(table: pl.DataFrame) -> ad.AnnData:
    """Return a MAGeCK gene summary as profiles, a row for each gene that was targeted.

    `test` gives one readout, the log2 fold change `log2fc`; `mle` the beta of each of its
    conditions, under its name.

    Raises:
        SchemaError: a summary without fold changes, as older versions write.
    """
    betas = [c for c in table.columns if c.endswith("|beta")]
    fold = _first(table, ("neg|lfc", "pos|lfc"))
    if not betas and fold is None:
        message = (
            f"the gene summary has no fold change ({', '.join(table.columns)}); write it with a "
            "MAGeCK that gives neg|lfc, or read one column: --set perturbation=id --set value=..."
        )
        raise SchemaError(message)
    columns = betas or [str(fold)]
    obs = pd.DataFrame({"perturbation": table["Gene" if betas else "id"].cast(pl.String).to_list()})
    obs.index = obs.index.astype(str)
    x_ng = table.select(pl.col(columns).cast(pl.Float32)).to_numpy()
    names = [c.removesuffix("|beta") for c in betas] or ["log2fc"]
    return ad.AnnData(np.ascontiguousarray(x_ng), obs=obs, var=pd.DataFrame(index=names))


def _first(table: pl.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((n for n in names if n in table.columns), None)
