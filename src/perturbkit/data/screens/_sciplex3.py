"""sci-Plex 3: 188 compounds at four doses in three cancer lines, as scPerturb publishes them."""

from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import micromolar, published

card = ScreenCard(
    name="sciplex3",
    summary="compounds at several doses in three cancer cell lines",
    source="Srivatsan 2020, doi:10.1126/science.aax6234, as scPerturb has it",
    read=published("sciplex3", "scperturb", constants={"kind": "drug"}, adapt=micromolar),
    file="sciplex3/SrivatsanTrapnell2020_sciplex3.h5ad",
    organism="Homo sapiens",
    licence="as the Zenodo record of scPerturb states",
    url="https://zenodo.org/records/13350497",
    download="https://zenodo.org/records/13350497/files/SrivatsanTrapnell2020_sciplex3.h5ad",
    unit="counts",
    holds="799,317 cells; a context for each cell line, doses in micromolar",
)
