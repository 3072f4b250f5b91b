"""Papalexi 2021: single-cell CRISPR knock-outs of interferon signalling in THP-1 cells."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.screen import Screen
from perturbkit.data.read.h5ad import read_adata
from perturbkit.data.screens.card import NoOptions, ScreenCard


def read(path: Path | None, options: Mapping[str, Any], rng: np.random.Generator) -> Screen:
    """Read the h5ad file: cells in counts; guide columns are kept.

    Raises:
        FileError: missing, cut short or damaged.
        SchemaError: columns missing.
    """
    del rng  # nothing is drawn
    NoOptions.parse(dict(options), "papalexi2021")
    return Screen.of(
        read_adata(path or ""),
        level="cells",
        unit="counts",
        constants={"context": "THP-1", "kind": "ko"},
        columns={"batch": "bio_rep"},
    )


card = ScreenCard(
    name="papalexi2021",
    summary="single-cell knock-outs of interferon signalling in THP-1, strong and silent targets",
    source="Papalexi 2021 (GSE153056), doi:10.1038/s41588-021-00778-2; 299 genes",
    read=read,
    file="papalexi2021/papalexi2021_eccite_299genes.h5ad",
    organism="Homo sapiens",
    licence="MIT package subset of GSE153056",
    url="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE153056",
    sha256="a70744e368613f3355bc9923e2eb564d92466a6a497d2ee67eebf38e9ed42bf2",
    unit="counts",
    holds="20,729 cells x 299 genes: 25 knock-outs and 2,386 control cells in 3 replicates",
)
