"""Open Problems 2023: signed ranks of drug responses in primary immune cells."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from perturbkit.core.condition import Condition
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import existing
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.screens.card import NoOptions, ScreenCard

ARRAYS = {"ranks": 3, "cell_types": 1, "compounds": 1, "genes": 1, "scale": 0}
"""Name and number of axes of each array in the file."""
MAX_VALUES = 500_000_000
"""A larger array of ranks is not this data set."""


def read(path: Path | None, options: Mapping[str, Any], rng: np.random.Generator) -> Screen:
    """Read the npz file: profiles in signed ranks, a context for each cell type.

    Raises:
        FileError: missing, cut short, not npz, or holding pickled objects.
        SchemaError: arrays missing or of sizes that do not fit together.
    """
    del rng  # nothing is drawn
    NoOptions.parse(dict(options), "op3")
    file = existing(path or "", "npz file")
    ranks, cell_types, compounds, genes, scale = _arrays(file)
    shape = (len(cell_types), len(compounds), len(genes))
    if ranks.shape != shape:
        message = f"{file}: ranks have the shape {ranks.shape}, and its names need {shape}"
        raise SchemaError(message)
    values_cg = ranks.reshape(-1, len(genes)).astype(np.float32) * np.float32(scale)
    labels = [Condition(targets=(str(c),)).perturbation for c in compounds]
    obs = pd.DataFrame(
        {
            "perturbation": np.tile(np.array(labels, object), len(cell_types)),
            "context": np.repeat(cell_types.astype(object), len(compounds)),
        }
    )
    obs.index = [f"{p} | {c}" for p, c in zip(obs["perturbation"], obs["context"], strict=True)]
    adata = ad.AnnData(X=values_cg, obs=obs, var=pd.DataFrame(index=genes.astype(object)))
    return Screen.of(adata, level="profiles", unit="signed_rank", constants={"kind": "drug"})


def _arrays(file: Path) -> list[np.ndarray]:
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            missing = [name for name in ARRAYS if name not in archive]
            if missing:
                message = (
                    f"{file} lacks the array(s) {', '.join(missing)}; "
                    f"an op3 file holds {', '.join(ARRAYS)}"
                )
                raise SchemaError(message)
            _require_small(archive, file)
            arrays = [archive[name] for name in ARRAYS]
    except (SchemaError, FileError):
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        message = f"{file} is not a whole npz file ({reason}); copy or download it again"
        raise FileError(message) from error
    for (name, axes), array in zip(ARRAYS.items(), arrays, strict=True):
        if array.ndim != axes or array.size > MAX_VALUES:
            message = f"{file}: {name} has the shape {array.shape}; expected {axes} axes"
            raise SchemaError(message)
    Vocabulary(arrays[list(ARRAYS).index("genes")], "readout")  # refuses names that repeat
    return arrays


def _require_small(archive: Any, file: Path) -> None:
    """Refuse an archive that would unpack to more than this data set can be."""
    n_bytes = sum(info.file_size for info in archive.zip.infolist())
    if n_bytes > 2 * MAX_VALUES:
        message = f"{file} would unpack to {n_bytes / 1e9:,.1f} GB; an op3 file has a few megabytes"
        raise FileError(message)


card = ScreenCard(
    name="op3",
    summary="drug responses of primary immune cells as signed ranks",
    source="Open Problems 2023 (GSE279945): limma contrasts against DMSO, ranked within profile",
    read=read,
    file="op3/op3_signed_ranks_B_NK_T.npz",
    organism="Homo sapiens",
    licence="CC BY 4.0",
    url="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE279945",
    sha256="64874b449e332582517ed84ceb88cccfb29b1339dab38eb886afdedd4e74298d",
    unit="signed_rank",
    holds="405 profiles x 6,349 genes: 135 compounds in B, NK and T cells; no dose, no replicates",
)
