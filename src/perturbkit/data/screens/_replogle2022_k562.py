"""Replogle 2022: CRISPRi of essential genes in K562, raw counts of single cells."""

from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import published, symbols

card = ScreenCard(
    name="replogle2022_k562",
    summary="CRISPRi of essential genes in K562, single cells with batches",
    source="Replogle 2022, doi:10.1016/j.cell.2022.05.013; figshare+ file 35773219",
    read=published(
        "replogle2022_k562",
        "replogle",
        constants={"context": "K562", "kind": "crispri"},
        adapt=symbols,
    ),
    file="replogle2022/K562_essential_raw_singlecell_01.h5ad",
    organism="Homo sapiens",
    licence="CC BY 4.0",
    url="https://doi.org/10.1016/j.cell.2022.05.013",
    download="https://plus.figshare.com/ndownloader/files/35773219",
    unit="counts",
    holds="310,385 cells x 8,563 genes; obs gene and gem_group, genes named by var gene_name",
)
