"""Gene Ontology: genes with the same annotations, from OBO + GAF or gene2go, or from GMT."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import polars as pl

from perturbkit.core.errors import ConfigError, FileError, SchemaError
from perturbkit.core.fetch import Download
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, Paths
from perturbkit.graphs.lines import Layout, read_table
from perturbkit.graphs.sets import SetConfig, network_of_sets, read_gmt

NAMESPACES = {"biological_process": "Process", "molecular_function": "Function",
              "cellular_component": "Component"}  # fmt: skip
"""The three namespaces, and what gene2go and pathfindR call them."""
_ASPECTS = {"P": "Process", "F": "Function", "C": "Component"}
_GAF_NAMES = ("db", "id", "symbol", "qualifier", "term", "reference", "evidence", "with", "aspect",
              "name", "synonym", "type", "taxon", "date", "by", "extension", "product")  # fmt: skip
_GAF = Layout("\t", names=_GAF_NAMES, comment="!", where="use goa_human.gaf from geneontology.org")
_GENE2GO = Layout("\t", comment="#", where="use gene2go from ftp.ncbi.nlm.nih.gov/gene/DATA")
_GENE_INFO = Layout("\t", comment="#", where="use Homo_sapiens.gene_info from NCBI")
_INFERRED = ("IEA", "ND")


class GoConfig(SetConfig):
    """Settings of the Gene Ontology."""

    namespace: Literal["all", "biological_process", "molecular_function", "cellular_component"] = (
        "all"
    )
    """which terms count"""
    propagate: bool | None = None
    """annotate the ancestors of each term as well; by default wherever an OBO file is there"""
    electronic: bool = True
    """count annotations no one reviewed (IEA)"""
    taxon: int = 9606
    """NCBI taxon of the genes in gene2go"""


def read(paths: Paths, config: GoConfig) -> Graph:
    """Read annotations (GAF, or gene2go + gene_info) with an OBO file, or a GMT file.

    Raises:
        FileError: annotations without what they need.
        SchemaError: short lines, wrong columns, or terms the OBO file does not know.
        ConfigError: a setting the files cannot honour.
    """
    rows = _annotations(paths, config)
    parents = _parents(paths["obo"]) if "obo" in paths else None
    if parents is None and config.propagate:
        message = "propagate = true needs the ontology; put go-basic.obo beside the annotations"
        raise ConfigError(message)
    if config.namespace != "all":
        rows = rows.filter(pl.col("namespace") == NAMESPACES[config.namespace])
    sets = rows.group_by("term", maintain_order=True).agg("gene").rows()
    if parents is not None:
        _require_known((t for t, _ in sets), parents, paths)
        if config.propagate is not False:
            sets = list(propagated(sets, parents).items())
    return network_of_sets(sets, config, Provenance(name="go"))


def _annotations(paths: Paths, config: GoConfig) -> pl.DataFrame:
    """Return term, gene, namespace of every annotation that counts."""
    if "gaf" in paths:
        return _from_gaf(paths["gaf"], config)
    if "gene2go" in paths:
        return _from_gene2go(paths, config)
    if "gmt" not in paths:
        message = (
            f"found {', '.join(p.name for p in paths.values())} and no annotations of GO; "
            "put a .gaf, gene2go or go*.gmt file beside it"
        )
        raise FileError(message)
    if not config.electronic:
        message = f"{paths['gmt'].name} has no evidence codes; electronic = false needs a GAF file"
        raise ConfigError(message)
    rows = [(name, gene, about.split("|")[0])
            for name, about, genes in read_gmt(paths["gmt"]) for gene in genes]  # fmt: skip
    table = pl.DataFrame(rows, schema=["term", "gene", "namespace"], orient="row")
    known = set(NAMESPACES.values())
    if config.namespace != "all" and not known & set(table["namespace"].unique()):
        message = (
            f"{paths['gmt'].name} does not state namespaces ('Process|...' as description); "
            "leave namespace out, or read a GAF file"
        )
        raise ConfigError(message)
    return table


def _from_gaf(path: Path, config: GoConfig) -> pl.DataFrame:
    names = ("symbol", "term", "evidence", "aspect")
    table = read_table(path, dict.fromkeys(names, pl.String), _GAF, {"qualifier": pl.String})
    table = table.filter(~pl.col("qualifier").fill_null("").str.contains(r"(^|\|)NOT"))
    if not config.electronic:
        table = table.filter(~pl.col("evidence").is_in(_INFERRED))
    odd = table.filter(~pl.col("aspect").is_in(list(_ASPECTS)))["aspect"]
    if len(odd):
        message = f"{path}: aspect {odd[0]!r} is not one of P, F, C; {_GAF.where}"
        raise SchemaError(message)
    return table.select("term", gene="symbol", namespace=pl.col("aspect").replace_strict(_ASPECTS))


def _from_gene2go(paths: Paths, config: GoConfig) -> pl.DataFrame:
    if "genes" not in paths:
        message = (
            f"{paths['gene2go'].name} names genes by number; put Homo_sapiens.gene_info "
            "beside it to have their symbols"
        )
        raise FileError(message)
    needed = {"tax_id": pl.Int64, "GeneID": pl.Int64, "GO_ID": pl.String, "Evidence": pl.String,
              "Category": pl.String}  # fmt: skip
    table = read_table(paths["gene2go"], needed, _GENE2GO, {"Qualifier": pl.String})
    rows = table.filter(pl.col("tax_id") == config.taxon)
    rows = rows.filter(~pl.col("Qualifier").fill_null("").str.starts_with("NOT"))
    if not config.electronic:
        rows = rows.filter(~pl.col("Evidence").is_in(_INFERRED))
    if not rows.height:
        message = f"{paths['gene2go'].name} has no annotation of taxon {config.taxon}; set taxon"
        raise ConfigError(message)
    genes = read_table(paths["genes"], {"GeneID": pl.Int64, "Symbol": pl.String}, _GENE_INFO)
    joined = rows.join(genes.unique("GeneID"), on="GeneID", how="left", maintain_order="left")
    unknown = joined.filter(pl.col("Symbol").is_null())["GeneID"].unique()
    if len(unknown) > len(joined) / 2:
        message = (
            f"gene {unknown[0]} and {len(unknown) - 1:,} more of {paths['gene2go'].name} are not "
            f"in {paths['genes'].name}; use the gene_info of taxon {config.taxon}"
        )
        raise SchemaError(message)
    known = joined.filter(pl.col("Symbol").is_not_null())
    return known.select(term="GO_ID", gene="Symbol", namespace="Category")


def _parents(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the parents (is_a, part_of) of each term, other ids of a term included."""
    import obonet

    from perturbkit.graphs.lines import text_lines

    # the parser takes an empty line for the end of a section
    lines = ["\n" * line.startswith("[") + line for _, line in text_lines(path)]
    if "\n[Term]" not in lines:
        message = f"{path} has no [Term] section; use go-basic.obo from geneontology.org"
        raise SchemaError(message)
    try:
        ontology = obonet.read_obo(io.StringIO("\n".join(lines)))
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} is not a whole OBO file ({error}); download it again"
        raise SchemaError(message) from error
    parents: dict[str, tuple[str, ...]] = {}
    for term, data in ontology.nodes(data=True):
        found = tuple(p for _, p, kind in ontology.out_edges(term, keys=True)
                      if kind in ("is_a", "part_of"))  # fmt: skip
        for name in (term, *data.get("alt_id", ())):
            parents[name] = found
    return parents


def _require_known(terms: Iterable[str], parents: dict[str, tuple[str, ...]], paths: Paths) -> None:
    terms = list(terms)
    unknown = [t for t in terms if t not in parents]
    # a few terms differ between releases a month apart
    if len(unknown) > max(0.02 * len(terms), 0):
        message = (
            f"{len(unknown):,} of {len(terms):,} annotated terms, for example {unknown[0]}, are "
            f"not in {paths['obo'].name}; use annotations and ontology of the same release"
        )
        raise SchemaError(message)


def propagated(
    sets: Iterable[tuple[str, Iterable[str]]], parents: dict[str, tuple[str, ...]]
) -> dict[str, set[str]]:
    """Give each gene of a term to all ancestors of the term (the true-path rule).

    Args:
        sets: terms with their genes.
        parents: parents of each term; terms without an entry are kept and go nowhere.
    """
    above: dict[str, frozenset[str]] = {}

    def ancestors(term: str) -> frozenset[str]:
        stack = [term]
        while stack:
            node = stack[-1]
            todo = [p for p in parents.get(node, ()) if p not in above]
            if node in above or not todo:
                mine = parents.get(node, ())
                above[node] = frozenset(mine).union(*(above[p] for p in mine))
                stack.pop()
            else:
                stack.extend(todo)
        return above[term]

    joined: dict[str, set[str]] = {}
    for term, genes in sets:
        found = set(genes)
        for name in (term, *ancestors(term)):
            joined.setdefault(name, set()).update(found)
    return joined


card = GraphCard(
    name="go",
    summary="genes with the same annotations in the Gene Ontology, rare terms counting more",
    source="Gene Ontology Consortium 2023, doi:10.1093/genetics/iyad031; GAF, gene2go or GMT",
    read=read,
    config=GoConfig,
    files={
        "obo": ("go*.obo*",),
        "gaf": ("*.gaf", "*.gaf.gz"),
        "gene2go": ("gene2go*",),
        "genes": ("*gene_info*",),
        "gmt": ("go*.gmt*",),
    },
    downloads={
        "obo": Download(name="go-basic.obo", urls=(
            "https://purl.obolibrary.org/obo/go/go-basic.obo",
            "https://current.geneontology.org/ontology/go-basic.obo",
        )),
        "gaf": Download(name="goa_human.gaf.gz", urls=(
            "https://current.geneontology.org/annotations/goa_human.gaf.gz",
        )),
    },
    licence="CC BY 4.0",
)  # fmt: skip
