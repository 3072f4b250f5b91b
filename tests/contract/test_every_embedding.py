"""What every embedding promises, walked over the catalogue."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest

from perturbkit.core.config import Config
from perturbkit.core.errors import ConfigError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.screen import Screen
from perturbkit.core.sets import set_graph
from perturbkit.genes import EMBEDDINGS
from perturbkit.genes.embed import embed


def sources(folder):
    rng = np.random.default_rng(0)
    a, b = rng.integers(40, size=(2, 150))
    edges = pl.DataFrame({"source": [f"g{i}" for i in a], "target": [f"g{i}" for i in b]})
    sets = {f"s{i}": [f"g{j}" for j in rng.choice(30, 8, replace=False)] for i in range(12)}
    obs = pd.DataFrame(
        {"perturbation": ["control"] * 20 + ["A"] * 20}, index=[str(i) for i in range(40)]
    )
    x = rng.poisson(5, size=(40, 12)).astype(np.float32)
    np.save(folder / "t.npy", rng.normal(size=(5, 7)).astype(np.float32))
    (folder / "t.names.txt").write_text("\n".join(f"g{i}" for i in range(5)))
    return {
        "graph": Graph.of(edges, directed=False, provenance=Provenance(name="net")),
        "sets": set_graph(sets, Provenance(name="sets")),
        "screen": Screen.of(ad.AnnData(x, obs=obs), level="cells", unit="counts"),
        "smiles": {"ethanol": "CCO", "benzene": "c1ccccc1"},
        "file": folder / "t.npy",
    }


@pytest.fixture(params=list(EMBEDDINGS))
def made(request, tmp_path):
    """Return a card and a function that makes its features from a small source."""
    card = EMBEDDINGS[request.param]
    if card.takes == "smiles":
        pytest.importorskip("rdkit")
    source = sources(tmp_path)[card.takes]
    fields = card.config.model_fields
    settings = {"width": 7 if card.takes == "file" else 8} if "width" in fields else {}
    return card, lambda seed: embed(card.name, source, np.random.default_rng(seed), **settings)


def test_features_are_finite_named_and_the_same_each_time(made):
    _, make = made
    first, second = make(3), make(3)
    assert isinstance(first, Features)
    assert first.name
    assert np.isfinite(first.values).all()
    assert first.values.dtype == np.float32
    assert len(first.names) == len(first.values)
    assert not set(first.missing) & set(first.names)
    np.testing.assert_array_equal(first.values, second.values)


def test_card_and_settings(made):
    card, _ = made
    assert card.summary
    assert card.source
    assert isinstance(card.config(), Config)
    with pytest.raises(ConfigError):
        card.config.parse({"no_such_setting": 1})
