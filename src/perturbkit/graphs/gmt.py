"""Any collection of gene sets as GMT: KEGG, MSigDB, your own."""

from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, Paths
from perturbkit.graphs.sets import SetConfig, network_of_sets, read_gmt


def read(paths: Paths, config: SetConfig) -> Graph:
    """Read a GMT file; genes that share sets become neighbours.

    Raises:
        SchemaError: a line without name, description and genes.
    """
    path = paths["sets"]
    name = path.name.split(".")[0]
    sets = [(n, genes) for n, _, genes in read_gmt(path)]
    return network_of_sets(sets, config, Provenance(name=name))


card = GraphCard(
    name="gmt",
    summary="genes that share sets of any GMT file (KEGG, MSigDB, your own)",
    source="file layout of MSigDB, gsea-msigdb.org",
    read=read,
    config=SetConfig,
    files={"sets": ("*.gmt", "*.gmt.gz")},
    licence="that of the file",
)
