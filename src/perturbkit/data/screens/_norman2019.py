"""Norman 2019: CRISPRa singles and pairs in K562, as scPerturb publishes them."""

from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import published

card = ScreenCard(
    name="norman2019",
    summary="CRISPRa of single genes and pairs in K562, the usual test of combinations",
    source="Norman 2019 (GSE133344), doi:10.1126/science.aax4438, as scPerturb has it",
    read=published("norman2019", "scperturb", constants={"context": "K562", "kind": "crispra"}),
    file="norman2019/NormanWeissman2019_filtered.h5ad",
    organism="Homo sapiens",
    licence="as the Zenodo record of scPerturb states",
    url="https://zenodo.org/records/13350497",
    download="https://zenodo.org/records/13350497/files/NormanWeissman2019_filtered.h5ad",
    unit="counts",
    holds="about 111,000 cells; pairs are joined by '_' in the file",
)
