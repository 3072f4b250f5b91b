"""Adamson 2016: CRISPRi of the unfolded protein response in K562, as scPerturb publishes it."""

from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import published

card = ScreenCard(
    name="adamson2016",
    summary="CRISPRi of genes of the unfolded protein response in K562",
    source="Adamson 2016 (GSM2406681), doi:10.1016/j.cell.2016.11.048, as scPerturb has it",
    read=published("adamson2016", "scperturb", constants={"context": "K562", "kind": "crispri"}),
    file="adamson2016/AdamsonWeissman2016_GSM2406681_10X010.h5ad",
    organism="Homo sapiens",
    licence="as the Zenodo record of scPerturb states",
    url="https://zenodo.org/records/13350497",
    download="https://zenodo.org/records/13350497/files/AdamsonWeissman2016_GSM2406681_10X010.h5ad",
    unit="counts",
    holds="cells of the main screen (10X010), single knock-downs and controls",
)
