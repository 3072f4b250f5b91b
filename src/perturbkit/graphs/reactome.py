"""Reactome: genes of the same pathway, from GMT or from UniProt2Reactome."""

import polars as pl

from perturbkit.core.errors import ConfigError, FileError, SchemaError
from perturbkit.core.fetch import Download
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, Paths
from perturbkit.graphs.lines import Layout, read_table
from perturbkit.graphs.sets import SetConfig, network_of_sets, read_gmt

_U2R = Layout("\t", names=("accession", "pathway", "url", "title", "evidence", "species"),
              where="use UniProt2Reactome.txt from reactome.org/download-data")  # fmt: skip
_IDS = Layout("\t", names=("accession", "kind", "value"),
              where="use HUMAN_9606_idmapping.dat from uniprot.org")  # fmt: skip
PREFIXES = {"homo_sapiens": "R-HSA-", "mus_musculus": "R-MMU-", "rattus_norvegicus": "R-RNO-",
            "saccharomyces_cerevisiae": "R-SCE-", "danio_rerio": "R-DRE-"}  # fmt: skip
"""How the ids of each species' pathways begin."""
MIN_MAPPED = 0.5
"""With less of the accessions mapped to genes the two files do not belong together."""


class ReactomeConfig(SetConfig):
    """Settings of Reactome."""

    species: str = "homo_sapiens"
    """whose pathways, as in homo_sapiens"""


def read(paths: Paths, config: ReactomeConfig) -> Graph:
    """Read a GMT file, or UniProt2Reactome with a UniProt id mapping.

    Raises:
        FileError: UniProt2Reactome without an id mapping beside it.
        SchemaError: short lines, wrong columns, or accessions the mapping does not know.
        ConfigError: a species the file does not have.
    """
    about = Provenance(name="reactome", species=config.species)
    if "gmt" in paths:
        return network_of_sets(_from_gmt(paths, config), config, about)
    return network_of_sets(_from_uniprot(paths, config), config, about)


def _from_gmt(paths: Paths, config: ReactomeConfig) -> list[tuple[str, list[str]]]:
    prefix = PREFIXES.get(config.species)
    if prefix is None:
        message = f"species {config.species!r} is not one of {', '.join(PREFIXES)}"
        raise ConfigError(message)
    # Reactome's own GMT has the id in the second column, others in the first
    rows = [(a if a.startswith("R-") else b, genes) for a, b, genes in read_gmt(paths["gmt"])]
    sets = [(name, genes) for name, genes in rows if name.startswith(prefix)]
    if not sets:
        message = f"{paths['gmt']} has no pathway of {config.species}; set species"
        raise ConfigError(message)
    return sets


def _from_uniprot(paths: Paths, config: ReactomeConfig) -> list[tuple[str, list[str]]]:
    if "uniprot" not in paths or "mapping" not in paths:
        absent = "mapping" if "uniprot" in paths else "uniprot"
        message = (
            f"found {', '.join(p.name for p in paths.values())} of Reactome without its "
            f"{absent} file; put {'*idmapping*' if absent == 'mapping' else 'UniProt2Reactome'} "
            "beside it, since pathways list proteins and networks name genes"
        )
        raise FileError(message)
    columns = {"accession": pl.String, "pathway": pl.String, "species": pl.String}
    table = read_table(paths["uniprot"], columns, _U2R)
    wanted = config.species.replace("_", " ").casefold()
    rows = table.filter(pl.col("species").str.to_lowercase() == wanted)
    if not rows.height:
        found = ", ".join(table["species"].unique().sort().to_list()[:6])
        message = f"{paths['uniprot'].name} has no {config.species}, it has {found}; set species"
        raise ConfigError(message)
    ids = read_table(paths["mapping"], dict.fromkeys(_IDS.names, pl.String), _IDS)
    genes = ids.filter(pl.col("kind") == "Gene_Name").unique("accession", keep="first")
    # isoforms are written P12345-2
    rows = rows.with_columns(pl.col("accession").str.split("-").list.first())
    known = rows.join(genes.select("accession", gene="value"), on="accession", how="inner")
    share = known["accession"].n_unique() / rows["accession"].n_unique()
    if share < MIN_MAPPED:
        message = (
            f"only {share:.0%} of the accessions of {paths['uniprot'].name} are in "
            f"{paths['mapping'].name}; use the id mapping of {config.species}"
        )
        raise SchemaError(message)
    joined = known.group_by("pathway", maintain_order=True).agg("gene")
    return [(pathway, found) for pathway, found in joined.rows()]


card = GraphCard(
    name="reactome",
    summary="genes of the same pathways, small pathways counting more",
    source="Milacic 2024, doi:10.1093/nar/gkad1025; GMT, or UniProt2Reactome.txt + id mapping",
    read=read,
    config=ReactomeConfig,
    files={
        "gmt": ("reactome*.gmt*", "ReactomePathways*.gmt*"),
        "uniprot": ("UniProt2Reactome*",),
        "mapping": ("*idmapping*",),
    },
    downloads={
        "uniprot": Download(
            name="UniProt2Reactome.txt",
            urls=("https://reactome.org/download/current/UniProt2Reactome.txt",),
        ),
        "mapping": Download(
            name="HUMAN_9606_idmapping.dat.gz",
            urls=("https://ftp.uniprot.org/pub/databases/uniprot/current_release/knowledgebase/"
                  "idmapping/by_organism/HUMAN_9606_idmapping.dat.gz",),
        ),
    },
    licence="CC0",
)  # fmt: skip
