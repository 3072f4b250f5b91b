"""`graph_config` as users of STATE write it: type and args, four sources, folders by name."""

import numpy as np
import pytest

from perturbkit.core.errors import ConfigError, FileError, UnknownNameError
from perturbkit.core.features import Features
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.configured import configured_graphs

EDGES = "source\ttarget\tweight\nA\tB\t0.9\nB\tC\t0.4\n"


def test_type_and_args_or_settings_alone(tmp_path) -> None:
    (tmp_path / "one.tsv").write_text(EDGES)
    path = str(tmp_path / "one.tsv")
    settings = {
        "mine": {"type": "edge_list", "args": {"path": path, "mode": "threshold_0.5"}},
        "edge_list": {"path": path},
    }
    graphs = configured_graphs(settings, tmp_path)
    assert [(n, g.n_edges) for n, g in graphs.items()] == [("mine", 1), ("edge_list", 2)]


def test_scgpt_derived_is_made_from_the_features() -> None:
    rng = np.random.default_rng(0)
    features = Features(Vocabulary([f"G{i}" for i in range(20)]), rng.normal(size=(20, 6)))
    settings = {"scgpt": {"type": "scgpt_derived", "args": {"mode": "top_5"}}}
    graph = configured_graphs(settings, "", features)["scgpt"]
    assert graph.n_edges > 20
    with pytest.raises(ConfigError, match="vectors"):
        configured_graphs(settings)


def test_a_folder_by_the_network_s_name_comes_first(tmp_path) -> None:
    (tmp_path / "string").mkdir()
    with pytest.raises(FileError, match="string"):
        configured_graphs({"string": {"type": "string", "args": {"confidence": 0.7}}}, tmp_path)


def test_mistakes_are_named(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="strnig"):
        configured_graphs({"strnig": {}}, tmp_path)
    with pytest.raises(ConfigError, match="type and a table"):
        configured_graphs({"string": {"type": "string", "arguments": {}}}, tmp_path)
