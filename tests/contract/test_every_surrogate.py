"""Every surrogate: finite values for the whole pool, repeatable, and it finds what is planted."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.graph import Graph
from perturbkit.design.knowledge import knowledge_of
from perturbkit.design.surrogate import SURROGATES

LEARNING = [n for n in SURROGATES if n != "prior"]


@pytest.fixture(scope="module")
def case():
    """Ten modules of a network; outcomes are high in two of them."""
    rng = np.random.default_rng(0)
    n = 300
    label = rng.integers(10, size=n)
    a, b = rng.integers(n, size=(2, 30 * n))
    keep = (label[a] == label[b]) | (rng.random(30 * n) < 0.01)
    names = [f"G{i}" for i in range(n)]
    edges = {"source": [names[i] for i in a[keep]], "target": [names[i] for i in b[keep]]}
    graph = Graph.of(pl.DataFrame(edges), directed=False, nodes=names)
    known = knowledge_of(names, {"string": graph}, {}, rng, width=12)
    truth = np.where(label < 2, 2.0, 0.0) + 0.3 * rng.normal(size=n)
    seen = np.where(np.arange(n) < 120, truth, np.nan)
    return known, seen, truth


@pytest.mark.parametrize("name", list(SURROGATES))
def test_it_answers_for_the_whole_pool_and_repeats_itself(name, case):
    known, seen, _ = case
    first = SURROGATES[name].fn(known, seen, np.random.default_rng(3))
    assert first.ndim == 2
    assert first.shape[1] == len(seen)
    assert np.isfinite(first).all()
    assert np.array_equal(first, SURROGATES[name].fn(known, seen, np.random.default_rng(3)))
    if not SURROGATES[name].by_chance:
        other = SURROGATES[name].fn(known, seen, np.random.default_rng(4))
        assert np.allclose(first.mean(0), other.mean(0), atol=1e-6)


@pytest.mark.parametrize("name", list(SURROGATES))
def test_it_answers_before_anything_is_measured(name, case):
    known, seen, _ = case
    blank = np.full(len(seen), np.nan)
    assert np.isfinite(SURROGATES[name].fn(known, blank, np.random.default_rng(0))).all()


@pytest.mark.parametrize("name", LEARNING)
def test_it_ranks_what_was_not_measured(name, case):
    known, seen, truth = case
    mean = SURROGATES[name].fn(known, seen, np.random.default_rng(0)).mean(0)
    assert np.corrcoef(mean[120:], truth[120:])[0, 1] > 0.35
