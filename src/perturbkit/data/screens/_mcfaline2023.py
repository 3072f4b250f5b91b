"""McFaline-Figueroa 2023: CRISPRi of kinases in glioblastoma lines under drugs."""

import anndata as ad
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import published, require_column


def adapt(adata: ad.AnnData, name: str) -> None:
    """Take the counts, and make a context of each cell line and treatment.

    Raises:
        SchemaError: a column or the layer of counts is missing.
    """
    if "counts" not in adata.layers:
        message = f"{name}: the file has no layer 'counts'; give PerturBench's processed file"
        raise SchemaError(message)
    adata.X = sparse.csr_matrix(adata.layers["counts"])
    lines = require_column(adata.obs, "cell_type", "obs", name).astype(str)
    drugs = require_column(adata.obs, "treatment", "obs", name).astype(str)
    adata.obs["cell_type"] = lines + " " + drugs


card = ScreenCard(
    name="mcfaline2023",
    summary="CRISPRi in three glioblastoma lines under drugs: many contexts",
    source="McFaline-Figueroa 2024, doi:10.1016/j.xgen.2023.100487, as PerturBench has it",
    read=published("mcfaline2023", "gears", constants={"kind": "crispri"}, adapt=adapt),
    file="mcfaline2023/mcfaline23_gxe_processed.h5ad",
    organism="Homo sapiens",
    licence="as the data set's page states",
    url="https://huggingface.co/datasets/altoslabs/perturbench",
    unit="counts",
    holds="892,800 cells, 525 targets; a context for each line and treatment; gunzip it first",
)
