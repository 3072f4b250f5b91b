"""Replogle 2022: CRISPRi of essential genes in RPE1, raw counts of single cells."""

from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import published, symbols

card = ScreenCard(
    name="replogle2022_rpe1",
    summary="CRISPRi of essential genes in RPE1, single cells with batches",
    source="Replogle 2022, doi:10.1016/j.cell.2022.05.013; figshare+ file 35775606",
    read=published(
        "replogle2022_rpe1",
        "replogle",
        constants={"context": "RPE1", "kind": "crispri"},
        adapt=symbols,
    ),
    file="replogle2022/rpe1_raw_singlecell_01.h5ad",
    organism="Homo sapiens",
    licence="CC BY 4.0",
    url="https://doi.org/10.1016/j.cell.2022.05.013",
    download="https://plus.figshare.com/ndownloader/files/35775606",
    unit="counts",
    holds="cells in counts, day 7; obs gene and gem_group, genes named by var gene_name",
)
