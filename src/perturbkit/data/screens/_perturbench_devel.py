"""PerturBench's development set: CRISPRa doubles in K562, CRISPRi in three glioblastoma lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.data.read.h5ad import read_adata
from perturbkit.data.screens.card import NoOptions, ScreenCard


def read(path: Path | None, options: Mapping[str, Any], rng: np.random.Generator) -> Screen:
    """Read the h5ad file: cells in log1p_cp10k, a context for each cell line.

    Raises:
        FileError: missing, cut short or damaged.
        SchemaError: columns missing.
    """
    del rng  # nothing is drawn
    NoOptions.parse(dict(options), "perturbench_devel")
    adata = read_adata(path or "")
    if "perturbation_type" not in adata.obs:
        message = f"{path}: obs lacks perturbation_type; give PerturBench's devel.h5ad"
        raise SchemaError(message)
    adata.obs["kind"] = adata.obs["perturbation_type"].astype(str).str.lower()
    return Screen.of(
        adata,
        level="cells",
        unit="log1p_cp10k",
        columns={"context": "cell_type", "kind": "kind", "batch": "dataset"},
    )


card = ScreenCard(
    name="perturbench_devel",
    summary="small cells set with doubles (K562 CRISPRa) and four contexts; weak signal",
    source="PerturBench (Altos Labs): Norman 2019 and McFaline-Figueroa 2023, subsampled",
    read=read,
    file="perturbench_devel/devel.h5ad",
    organism="Homo sapiens",
    licence="BSD-3-Clause",
    url="https://github.com/altoslabs/perturbench",
    sha256="220998f5630c813228c8661c86dd52244b9ac87127511289af90e0d900d8429b",
    unit="log1p_cp10k",
    holds="5,961 cells x 500 genes: 18 singles, 15 doubles in K562, singles in three glioma lines",
)
