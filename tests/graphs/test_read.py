"""Every reader on small files in the real layout; every setting has its effect."""

import gzip

import numpy as np
import pytest

from perturbkit.core.errors import ConfigError, FileError, SchemaError, UnknownNameError
from perturbkit.core.features import Features
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.read import Sources, read_graph, read_graphs


def pairs(graph):
    return {(a, b) for a, b in graph.table().select("source", "target").rows()}


def weights(graph):
    return {(a, b): round(w, 3) for a, b, w in
            graph.table().select("source", "target", "weight").rows()}  # fmt: skip


def signs(graph):
    return {(a, b): s for a, b, s in graph.table().select("source", "target", "sign").rows()}


def test_string_confidence_keeps_the_edges_of_at_least_that_score(folder_of):
    folder = folder_of("string")
    assert weights(read_graph("string", folder)) == {
        ("A", "B"): 0.8, ("A", "C"): 0.63, ("B", "D"): 0.45,
    }  # fmt: skip
    assert pairs(read_graph("string", folder, confidence=0.7)) == {("A", "B")}
    assert len(pairs(read_graph("string", folder, confidence=0.0))) == 4
    # exactly at the threshold counts
    assert pairs(read_graph("string", folder, confidence=0.63)) == {("A", "B"), ("A", "C")}


def test_string_channels_count_only_their_evidence(folder_of):
    folder = folder_of("string")
    one = read_graph("string", folder, channels=["experiments"], confidence=0.0)
    found = {pair: w for pair, w in weights(one).items() if w > 0}
    assert found == {("A", "B"): 0.8}
    two = read_graph("string", folder, channels=["coexpression", "database"], confidence=0.6)
    # 1 - (1 - s1)(1 - s2) with the prior 0.041 taken out and put back once
    s1, s2 = (0.3 - 0.041) / 0.959, (0.5 - 0.041) / 0.959
    joined = 1 - (1 - s1) * (1 - s2)
    assert weights(two) == {("A", "C"): round(joined + 0.041 * (1 - joined), 3)}


def test_string_names_every_protein_and_its_version(folder_of):
    graph = read_graph("string", folder_of("string"))
    assert list(graph.nodes) == ["A", "B", "C", "D"]
    assert graph.provenance.version == "v12.0"
    assert len(graph.provenance.sha256.split("+")) == 2


def test_string_pairs_are_read_and_refuse_what_they_cannot_honour(folder_of, texts):
    folder = folder_of("none", **{"pathfindR_pin_string.csv": texts.PAIRS})
    assert pairs(read_graph("string", folder)) == {("A", "B"), ("B", "C")}
    with pytest.raises(ConfigError, match="without scores"):
        read_graph("string", folder, confidence=0.7)


def test_string_without_info_and_with_foreign_info_is_an_error(folder_of):
    name = "9606.protein.info.v12.0.txt"
    with pytest.raises(FileError, match=r"protein\.info is not beside it"):
        read_graph("string", folder_of("string", **{name: None}))
    info = "#string_protein_id\tpreferred_name\n9606.P1\tA\n"
    with pytest.raises(SchemaError, match=r"not in protein\.info; use both files of one"):
        read_graph("string", folder_of("string", **{name: info}))


def test_string_channel_that_is_unknown_or_not_in_the_file(folder_of):
    folder = folder_of("string")
    with pytest.raises(ConfigError, match="no channel 'gossip'"):
        read_graph("string", folder, channels=["gossip"])
    short = "protein1 protein2 combined_score\n9606.P1 9606.P2 900\n"
    folder = folder_of("string", **{"9606.protein.links.full.v12.0.txt": short})
    with pytest.raises(ConfigError, match=r"no column for 'database'.*links.full"):
        read_graph("string", folder, channels=["database"])


def sets_of(graph):
    found = {}
    for a, b in graph.table().select("source", "target").rows():
        found.setdefault(a, set()).add(b)
    return found


def test_go_propagates_to_ancestors_and_drops_not(folder_of):
    sets = sets_of(read_graph("go", folder_of("go"), as_sets=True))
    assert sets == {
        "GO:0000001": {"A", "B", "C"}, "GO:0000002": {"A", "B", "C"}, "GO:0000003": {"B"},
        "GO:0000004": {"E", "F"}, "GO:0000009": {"A"},
    }  # fmt: skip


def test_go_settings_each_change_the_sets(folder_of):
    folder = folder_of("go")

    def sets(**settings):
        return sets_of(read_graph("go", folder, as_sets=True, **settings))

    assert sets(propagate=False)["GO:0000002"] == {"A", "C"}
    assert "GO:0000001" not in sets(propagate=False)
    assert sets(electronic=False)["GO:0000002"] == {"A", "B"}
    assert set(sets(namespace="molecular_function")) == {"GO:0000004"}
    assert "GO:0000004" not in sets(namespace="biological_process")


def test_go_reads_gene2go_with_gene_info(folder_of, texts):
    folder = folder_of("none", gene2go=texts.GENE2GO,
                       **{"Homo_sapiens.gene_info": texts.GENE_INFO})  # fmt: skip
    sets = sets_of(read_graph("go", folder, as_sets=True))
    assert sets == {"GO:0000002": {"A"}, "GO:0000003": {"B"}, "GO:0000004": {"D"}}
    assert "GO:0000003" not in sets_of(read_graph("go", folder, as_sets=True, electronic=False))
    with pytest.raises(ConfigError, match="no annotation of taxon 7227"):
        read_graph("go", folder, taxon=7227)
    (folder / "Homo_sapiens.gene_info").unlink()
    with pytest.raises(FileError, match=r"put Homo_sapiens.gene_info"):
        read_graph("go", folder)


def test_go_gmt_honours_namespaces_or_says_it_cannot(folder_of):
    gmt = "GO:1\tProcess|one\tA\tB\nGO:2\tFunction|two\tB\tC\n"
    folder = folder_of("none", **{"go_all.gmt": gmt})
    assert pairs(read_graph("go", folder)) == {("A", "B"), ("B", "C")}
    assert pairs(read_graph("go", folder, namespace="molecular_function")) == {("B", "C")}
    with pytest.raises(ConfigError, match="needs the ontology"):
        read_graph("go", folder, propagate=True)
    with pytest.raises(ConfigError, match="no evidence codes"):
        read_graph("go", folder, electronic=False)
    folder = folder_of("other", **{"go_all.gmt": "GO:1\tone\tA\tB\n"})
    with pytest.raises(ConfigError, match="does not state namespaces"):
        read_graph("go", folder, namespace="molecular_function")


def test_go_terms_of_another_release_are_an_error(folder_of):
    from_another = "[Term]\nid: GO:0000001\nname: root\n"
    with pytest.raises(SchemaError, match="same release"):
        read_graph("go", folder_of("go", **{"go-basic.obo": "ontology: go\n\n" + from_another}))


def test_reactome_species_picks_the_pathways(folder_of):
    folder = folder_of("reactome")
    assert pairs(read_graph("reactome", folder, species="homo_sapiens")) == {
        ("A", "B"), ("A", "C"), ("B", "C"), ("C", "D"),
    }  # fmt: skip
    assert pairs(read_graph("reactome", folder, species="mus_musculus")) == {("a1", "b1")}
    with pytest.raises(ConfigError, match=r"no pathway of danio_rerio"):
        read_graph("reactome", folder, species="danio_rerio")
    with pytest.raises(ConfigError, match=r"'martian' is not one of homo_sapiens"):
        read_graph("reactome", folder, species="martian")


def test_reactome_maps_uniprot_to_genes(folder_of, texts):
    files = {"UniProt2Reactome.txt": texts.U2R, "HUMAN_9606_idmapping.dat": texts.IDMAPPING}
    folder = folder_of("none", **files)
    assert pairs(read_graph("reactome", folder)) == {("A", "B"), ("A", "C")}
    with pytest.raises(ConfigError, match=r"no gallus_gallus, it has Homo sapiens"):
        read_graph("reactome", folder, species="gallus_gallus")
    # mouse accessions are not in the human mapping: silence would give a network without edges
    with pytest.raises(SchemaError, match="only 0% of the accessions"):
        read_graph("reactome", folder, species="mus_musculus")
    (folder / "HUMAN_9606_idmapping.dat").unlink()
    with pytest.raises(FileError, match=r"put \*idmapping\* beside it"):
        read_graph("reactome", folder)


def test_humap_probability(folder_of, texts):
    assert pairs(read_graph("humap", folder_of("humap"))) == {("A", "B"), ("B", "C")}
    with pytest.raises(ConfigError, match="without probabilities"):
        read_graph("humap", folder_of("humap"), probability=0.5)
    folder = folder_of("none", **{"humap2_ppis_genename.pairsWprob": texts.HUMAP_SCORED})
    assert weights(read_graph("humap", folder)) == {("A", "B"): 0.9, ("B", "C"): 0.1}
    assert pairs(read_graph("humap", folder, probability=0.5)) == {("A", "B")}


def test_biogrid_settings(folder_of):
    folder = folder_of("biogrid")
    assert weights(read_graph("biogrid", folder)) == {("A", "B"): 1.0, ("A", "C"): 0.5}
    assert pairs(read_graph("biogrid", folder, kind="genetic")) == {("C", "D")}
    assert len(pairs(read_graph("biogrid", folder, kind="any"))) == 3
    assert pairs(read_graph("biogrid", folder, taxon=559292)) == {("X", "Y")}
    assert pairs(read_graph("biogrid", folder, low_throughput_only=True)) == {("A", "B")}
    with pytest.raises(SchemaError, match="of taxon 1 in"):
        read_graph("biogrid", folder, taxon=1)


def test_regulons_keep_signs_grades_and_references(folder_of, texts):
    folder = folder_of("dorothea")
    assert signs(read_graph("dorothea", folder)) == {("T1", "A"): 1, ("T1", "B"): -1}
    assert weights(read_graph("dorothea", folder, levels=["E"])) == {("T2", "C"): 0.2}
    with pytest.raises(ConfigError, match="name some of A, B, C, D, E"):
        read_graph("dorothea", folder, levels=["F"])
    folder = folder_of("collectri")
    assert signs(read_graph("collectri", folder)) == {
        ("T1", "A"): 1, ("T1", "B"): -1, ("T2", "C"): 1,
    }  # fmt: skip
    assert pairs(read_graph("collectri", folder, min_references=2)) == {("T1", "A"), ("T2", "C")}
    for folder in (folder_of("trrust"), folder_of("x", **{"trrust_from.csv": texts.TRRUST_CSV})):
        assert signs(read_graph("trrust", folder)) == {
            ("T1", "A"): 1, ("T1", "B"): -1, ("T2", "C"): 0,
        }  # fmt: skip
        assert len(pairs(read_graph("trrust", folder, signed_only=True))) == 2
        assert pairs(read_graph("trrust", folder, min_references=2)) == {("T1", "A")}


def test_trrust_of_contradicting_papers_has_no_sign(folder_of):
    text = "T1\tA\tActivation\t1\nT1\tA\tRepression\t2\nT1\tB\tUnknown\t3\nT1\tB\tRepression\t3\n"
    graph = read_graph("trrust", folder_of("x", **{"trrust.tsv": text}))
    assert signs(graph) == {("T1", "A"): 0, ("T1", "B"): -1}
    with pytest.raises(SchemaError, match="mode 'Maybe' is not one of"):
        read_graph("trrust", folder_of("x", **{"trrust.tsv": "T1\tA\tMaybe\t1\n"}))


def test_yeastract_in_both_layouts(folder_of):
    assert pairs(read_graph("yeastract", folder_of("yeastract"))) == {
        ("ABF1", "YAL001C"), ("GCN4", "YAL002W"),
    }  # fmt: skip
    folder = folder_of("x", RegulationTwoColumnTable="Abf1;YAL001C\n")
    assert pairs(read_graph("yeastract", folder, upper_case=False)) == {("Abf1", "YAL001C")}


def test_sets_become_a_network_by_what_is_shared(folder_of):
    folder = folder_of("gmt")
    jaccard = read_graph("gmt", folder, similarity="jaccard")
    assert weights(jaccard) == {
        ("A", "B"): 1.0, ("A", "C"): 0.5, ("B", "C"): 0.5, ("C", "D"): 0.5,
    }  # fmt: skip
    information = weights(read_graph("gmt", folder))
    rare, common = np.log(4 / 2), np.log(4 / 3)
    assert information["C", "D"] == round(rare / (rare + common), 3)
    assert information["A", "C"] == round(common / (rare + common), 3)
    assert pairs(read_graph("gmt", folder, min_size=3)) == {("A", "B"), ("A", "C"), ("B", "C")}
    assert pairs(read_graph("gmt", folder, max_size=2)) == {("C", "D")}
    one = read_graph("gmt", folder, neighbours=1)
    assert ("A", "B") in pairs(one)
    assert one.n_edges < jaccard.n_edges


def test_edge_lists_in_any_separator_and_naming(folder_of):
    graph = read_graph("edge_list", folder_of("edge_list"))
    assert weights(graph) == {("A", "B"): 0.5, ("B", "C"): 2.0, ("A", "C"): 1.0}
    assert signs(graph)["B", "C"] == -1
    assert not read_graph("edge_list", folder_of("edge_list"), directed=False).directed
    for separator in ",; ":
        text = separator.join(["regulator", "gene2", "importance"]) + "\n"
        folder = folder_of("x", my_edges=text + separator.join(["A", "B", "3"]) + "\n")
        assert weights(read_graph("edge_list", folder / "my_edges")) == {("A", "B"): 3.0}
    folder = folder_of("y", **{"e.csv": "left,right,w1,w2\nA,B,1,2\n"})
    graph = read_graph("edge_list", folder / "e.csv", source="left", target="right", weight="w2")
    assert weights(graph) == {("A", "B"): 2.0}
    with pytest.raises(SchemaError, match="none looks like a source"):
        read_graph("edge_list", folder / "e.csv")
    with pytest.raises(SchemaError, match="none is 'w3'"):
        read_graph("edge_list", folder / "e.csv", source="left", target="right", weight="w3")


def test_sif_and_graphml(folder_of):
    graph = read_graph("sif", folder_of("sif"))
    assert pairs(graph) == {("A", "B"), ("A", "C"), ("C", "D")}
    assert "lonely" in graph.nodes
    assert pairs(read_graph("sif", folder_of("sif"), relation="pd")) == {("C", "D")}
    assert not read_graph("sif", folder_of("sif"), directed=False).directed
    with pytest.raises(SchemaError, match=r"no relation 'zz'; it has pd, pp"):
        read_graph("sif", folder_of("sif"), relation="zz")
    graph = read_graph("graphml", folder_of("graphml"), label="symbol")
    assert weights(graph) == {("A", "B"): 0.5, ("B", "C"): 2.0}
    assert signs(graph)["B", "C"] == -1
    assert pairs(read_graph("graphml", folder_of("graphml"))) == {("n0", "n1"), ("n1", "n2")}
    assert set(weights(read_graph("graphml", folder_of("graphml"), weight="zz")).values()) == {1.0}
    with pytest.raises(SchemaError, match="no attribute 'label'"):
        read_graph("graphml", folder_of("graphml"), label="label")


def test_mode_applies_to_every_network(folder_of):
    folder = folder_of("string")
    assert pairs(read_graph("string", folder, mode="threshold_0.7")) == {("A", "B")}
    assert read_graph("string", folder, mode="percentile_50").n_edges == 2
    assert read_graph("string", folder, mode="top_1").n_edges == 3
    for bad in ("top_0", "top_x", "some", "percentile_101", "top_1.5", "threshold_."):
        with pytest.raises(ConfigError, match="mode"):
            read_graph("string", folder, mode=bad)


def test_settings_as_users_of_state_write_them(folder_of):
    for name in ("string", "go", "reactome"):
        folder = folder_of(name)
    for file in folder.parent.glob("*/*"):
        file.rename(folder.parent / file.name)
    features = Features(Vocabulary("ABC"), np.eye(3) + 0.1 * np.arange(3), "scgpt")
    graphs = read_graphs(
        {"string": {"confidence": 0.7}, "go": {"namespace": "biological_process"},
         "reactome": {"species": "homo_sapiens"}, "scgpt_derived": {"mode": "top_1"}},
        Sources(place=folder.parent, features=features),
    )  # fmt: skip
    assert list(graphs) == ["string", "go", "reactome", "scgpt_derived"]
    assert all(g.n_edges for g in graphs.values())
    with pytest.raises(ConfigError, match=r"graph string: 0\.7 is not a table"):
        read_graphs({"string": 0.7}, folder)
    with pytest.raises(ConfigError, match=r"graph string.*confidenze"):
        read_graphs({"string": {"confidenze": 0.7}}, folder)
    with pytest.raises(UnknownNameError, match=r"did you mean 'string'"):
        read_graphs({"strin": {}}, folder)


def test_networks_from_data_need_the_data():
    with pytest.raises(ConfigError, match="screen and the fold of each condition"):
        read_graph("experimental")
    with pytest.raises(ConfigError, match="give features"):
        read_graph("embedding")


def test_a_missing_file_is_named_never_replaced(tmp_path, monkeypatch):
    with pytest.raises(FileError, match=r"'string' at .*protein.links"):
        read_graph("string", tmp_path)
    monkeypatch.setenv("PERTURBKIT_OFFLINE", "1")
    monkeypatch.setenv("PERTURBKIT_CACHE", str(tmp_path))
    with pytest.raises(FileError, match=r"9606.protein.links.full.*switched off"):
        read_graph("string")
    with pytest.raises(ConfigError, match="no address to download from"):
        read_graph("biogrid")


def test_a_single_file_finds_its_companions(folder_of):
    folder = folder_of("string")
    (links,) = folder.glob("*links*")
    assert read_graph("string", links).n_edges == 3
    assert read_graph("string", path=str(folder)).n_edges == 3


def test_gzip_and_plain_text_give_the_same_network(folder_of):
    plain = read_graph("string", folder_of("string"))
    folder = folder_of("string", zipped=True)
    for file in folder.glob("*.txt"):
        file.unlink()
    assert weights(read_graph("string", folder)) == weights(plain)
    assert gzip.decompress(next(folder.glob("*info*")).read_bytes())[:1] == b"#"
