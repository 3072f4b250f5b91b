"""Small files in the real layout of every source."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest

STRING_LINKS = """\
protein1 protein2 neighborhood neighborhood_transferred fusion cooccurence homology coexpression \
coexpression_transferred experiments experiments_transferred database database_transferred \
textmining textmining_transferred combined_score
9606.P1 9606.P2 0 0 0 0 0 0 0 800 0 0 0 0 0 800
9606.P2 9606.P1 0 0 0 0 0 0 0 800 0 0 0 0 0 800
9606.P1 9606.P3 0 0 0 0 0 300 0 0 0 500 0 0 0 630
9606.P2 9606.P4 0 0 0 0 0 0 0 0 0 0 0 450 0 450
9606.P3 9606.P4 0 0 0 0 0 0 0 0 0 0 0 200 0 200
"""
STRING_INFO = """\
#string_protein_id\tpreferred_name\tprotein_size\tannotation
9606.P1\tA\t100\tfirst "quoted; protein
9606.P2\tB\t100\tsecond
9606.P3\tC\t100\tthird
9606.P4\tD\t100\tfourth
"""
OBO = """\
format-version: 1.2
ontology: go

[Term]
id: GO:0000001
name: root
namespace: biological_process

[Term]
id: GO:0000002
name: child
namespace: biological_process
is_a: GO:0000001 ! root

[Term]
id: GO:0000003
name: part
namespace: biological_process
alt_id: GO:0000009
relationship: part_of GO:0000002 ! child

[Term]
id: GO:0000004
name: function
namespace: molecular_function
"""


def gaf_row(symbol, term, evidence="IDA", aspect="P", qualifier="involved_in"):
    return "\t".join(["UniProtKB", "P0", symbol, qualifier, term, "PMID:1", evidence, "", aspect,
                      "", "", "protein", "taxon:9606", "20240101", "UniProt", "", ""])  # fmt: skip


GAF = "!gaf-version: 2.2\n!generated\n" + "\n".join([
    gaf_row("A", "GO:0000002"), gaf_row("B", "GO:0000003"), gaf_row("C", "GO:0000002", "IEA"),
    gaf_row("D", "GO:0000002", qualifier="NOT|involved_in"), gaf_row("E", "GO:0000004", aspect="F"),
    gaf_row("F", "GO:0000004", aspect="F"), gaf_row("A", "GO:0000009"),
]) + "\n"  # fmt: skip
GENE2GO = """\
#tax_id\tGeneID\tGO_ID\tEvidence\tQualifier\tGO_term\tPubMed\tCategory
9606\t1\tGO:0000002\tIDA\tinvolved_in\tchild\t1\tProcess
9606\t2\tGO:0000003\tIEA\tinvolved_in\tpart\t1\tProcess
9606\t3\tGO:0000002\tIDA\tNOT involved_in\tchild\t1\tProcess
9606\t4\tGO:0000004\tIDA\tenables\tfunction\t1\tFunction
10090\t5\tGO:0000002\tIDA\tinvolved_in\tchild\t1\tProcess
"""
GENE_INFO = """\
#tax_id\tGeneID\tSymbol\tLocusTag
9606\t1\tA\t-
9606\t2\tB\t-
9606\t3\tC\t-
9606\t4\tD\t-
"""
REACTOME_GMT = "R-HSA-1\tone\tA\tB\tC\nR-HSA-2\ttwo\tC\tD\nR-MMU-1\tmouse\ta1\tb1\n"
U2R = """\
P1\tR-HSA-1\turl\tone\tTAS\tHomo sapiens
P2-2\tR-HSA-1\turl\tone\tIEA\tHomo sapiens
P3\tR-HSA-2\turl\ttwo\tIEA\tHomo sapiens
P1\tR-HSA-2\turl\ttwo\tIEA\tHomo sapiens
Q1\tR-MMU-1\turl\tmouse\tIEA\tMus musculus
"""
IDMAPPING = "P1\tGene_Name\tA\nP1\tEntrez\t1\nP2\tGene_Name\tB\nP3\tGene_Name\tC\n"
BIOGRID = "\t".join(
    ["#BioGRID Interaction ID", "Official Symbol Interactor A", "Official Symbol Interactor B",
     "Experimental System Type", "Organism ID Interactor A", "Organism ID Interactor B",
     "Throughput"]
) + """
1\tA\tB\tphysical\t9606\t9606\tLow Throughput
2\tB\tA\tphysical\t9606\t9606\tHigh Throughput
3\tA\tC\tphysical\t9606\t9606\tHigh Throughput
4\tC\tD\tgenetic\t9606\t9606\tLow Throughput
5\tX\tY\tphysical\t559292\t559292\tLow Throughput
"""  # fmt: skip
DOROTHEA = "tf,confidence,target,mor\nT1,A,A,1.0\nT1,C,B,-1.0\nT2,E,C,1.0\n"
COLLECTRI = 'source,target,weight,references\nT1,A,1,"1;2;3"\nT1,B,-1,4\nT2,C,1,"5;6"\n'
TRRUST_TSV = "T1\tA\tActivation\t1;2\nT1\tB\tRepression\t3\nT2\tC\tUnknown\t4\n"
TRRUST_CSV = 'tf,target,mor,pubmed_id\nT1,A,1.0,"1,2"\nT1,B,-1.0,3\nT2,C,0.0,4\n'
YEAST = "tf,target\nabf1,YAL001C\nGCN4,YAL002W\n"
HUMAP = "entity1,entity2\nA,B\nB,C\n"
HUMAP_SCORED = "A\tB\t0.9\nB\tC\t0.1\n"
PAIRS = "gene1,gene2\nA,B\nB,A\nB,C\nC,C\n"
GMT = "set_a\tabout\tA\tB\tC\nset_b\tabout\tC\tD\n"
EDGES = "source\ttarget\tweight\nA\tB\t0.5\nB\tC\t-2\nA\tC\t1\n"
SIF = "A pp B C\nC pd D\nlonely\n"
GRAPHML = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="w" for="edge" attr.name="weight" attr.type="double"/>
<key id="s" for="node" attr.name="symbol" attr.type="string"/>
<graph edgedefault="undirected">
<node id="n0"><data key="s">A</data></node><node id="n1"><data key="s">B</data></node>
<node id="n2"><data key="s">C</data></node>
<edge source="n0" target="n1"><data key="w">0.5</data></edge>
<edge source="n1" target="n2"><data key="w">-2</data></edge>
</graph></graphml>
"""
FILES = {
    "string": {"9606.protein.links.full.v12.0.txt": STRING_LINKS,
               "9606.protein.info.v12.0.txt": STRING_INFO},
    "go": {"go-basic.obo": OBO, "goa_human.gaf": GAF},
    "reactome": {"reactome.gmt": REACTOME_GMT},
    "humap": {"humap.txt": HUMAP},
    "biogrid": {"BIOGRID-ALL-4.4.tab3.txt": BIOGRID},
    "dorothea": {"dorothea_hs.csv": DOROTHEA},
    "collectri": {"collectri.csv": COLLECTRI},
    "trrust": {"trrust_rawdata.human.tsv": TRRUST_TSV},
    "yeastract": {"yeastract_edges.csv": YEAST},
    "gmt": {"kegg.gmt": GMT},
    "edge_list": {"my_edges.tsv": EDGES},
    "sif": {"net.sif": SIF},
    "graphml": {"net.graphml": GRAPHML},
}  # fmt: skip
"""The smallest whole set of files of each network made from files."""


@pytest.fixture
def folder_of(tmp_path):
    """Write the files of a network, some of them replaced; None leaves one out."""

    def write(name: str, *, zipped: bool = False, **replaced: str | bytes | None) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, text in (FILES.get(name, {}) | replaced).items():
            if text is None:
                continue
            content = text if isinstance(text, bytes) else text.encode()
            if zipped:
                (folder / f"{file}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / file).write_bytes(content)
        return folder

    return write


@pytest.fixture
def texts() -> SimpleNamespace:
    """The texts above by name."""
    return SimpleNamespace(**{k: v for k, v in globals().items() if k == k.upper()})
