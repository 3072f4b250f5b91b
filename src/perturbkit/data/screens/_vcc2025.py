"""The Virtual Cell Challenge of 2025: CRISPRi in H1 stem cells, the training cells."""

from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import published

card = ScreenCard(
    name="vcc2025",
    summary="training cells of the Virtual Cell Challenge 2025: CRISPRi in H1 stem cells",
    source="Arc Institute, Virtual Cell Challenge 2025",
    read=published("vcc2025", "cell_load", constants={"context": "H1", "kind": "crispri"}),
    file="vcc2025/adata_Training.h5ad",
    organism="Homo sapiens",
    licence="as virtualcellchallenge.org states",
    url="https://virtualcellchallenge.org/datasets",
    download="https://storage.googleapis.com/arc-institute-virtual-cell-atlas/"
    "virtual-cell-challenge/2025/train/adata_Training.h5ad",
    unit="counts",
    holds="221,273 cells x 18,080 genes: 150 targets and 38,176 non-targeting cells",
)
