"""Graphical lasso against sklearn, patterns of causal-learn, and imputed perturbations."""

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import graphical_lasso as sklearn_graphical_lasso

from perturbkit.core.errors import MissingExtraError
from perturbkit.core.screen import Screen
from perturbkit.grn import GRN_METHODS
from perturbkit.grn.effects import mean_effects
from perturbkit.grn.graphical_lasso import sparse_precision
from perturbkit.grn.imputed_inverse import ridge_by_leaving_out, with_imputed


@pytest.mark.parametrize("penalty", [0.5, 0.1])
def test_the_sparse_inverse_equals_sklearns(penalty):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8)) @ rng.normal(size=(8, 8))
    r = np.corrcoef(x.T)
    expected = sklearn_graphical_lasso(r, penalty, tol=1e-3, enet_tol=1e-6)[1]
    found = sparse_precision(r, penalty)
    assert np.allclose(found, expected, atol=0.01)
    assert ((np.abs(found) < 1e-6) == (np.abs(expected) < 1e-6)).mean() > 0.95


def rows_screen(values):
    names = [f"g{j}" for j in range(values.shape[1])]
    labels = ["control"] * (len(values) - 1) + ["g0"]
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(values))])
    adata = ad.AnnData(values, obs, pd.DataFrame(index=names))
    return Screen.of(adata, level="cells", unit="score")


@pytest.mark.parametrize("name", ["pc", "ges"])
def test_a_collider_gets_its_directions_and_a_chain_none(name):
    pytest.importorskip("causallearn")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 600))
    collider = a + b + 0.5 * rng.normal(size=600)
    last = rng.normal(size=600)
    chain = last + 0.7 * rng.normal(size=600)
    screen = rows_screen(np.stack([a, b, collider, last, chain], 1))
    table = GRN_METHODS[name].fn(screen, rng).table()
    edges = set(table.select("source", "target").iter_rows())
    assert edges == {("g0", "g2"), ("g1", "g2"), ("g3", "g4"), ("g4", "g3")}


@pytest.mark.parametrize("name", ["pc", "ges"])
def test_without_causal_learn_the_extra_is_named(name, monkeypatch):
    for module in [m for m in sys.modules if m.startswith("causallearn")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "causallearn", None)
    screen = rows_screen(np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(MissingExtraError, match=r"pip install 'perturbkit\[causal\]'"):
        GRN_METHODS[name].fn(screen, np.random.default_rng(0))


def test_the_error_of_leaving_one_out_is_that_of_refitting():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 6))
    y += x @ rng.normal(size=(4, 6))
    predicted, error = ridge_by_leaving_out(x, y, x[:2])
    assert predicted.shape == (2, 6)
    refitted = np.stack([ridge_by_leaving_out(np.delete(x, i, 0), np.delete(y, i, 0), x[[i]])[0][0]
                         for i in range(30)])  # fmt: skip
    assert np.allclose(error, np.sqrt(((y - refitted) ** 2).mean(0)), rtol=0.1)


def test_an_unperturbed_twin_is_given_its_twins_effect():
    """Readouts g20 and g21 copy g0 and g1; the perturbation of neither was made."""
    rng = np.random.default_rng(1)
    p, g = 20, 40
    factors = rng.normal(size=(p, 3))
    values = np.zeros((p + 1, g))
    values[1:] = factors @ rng.normal(size=(3, g)) * 0.5 + rng.normal(0, 0.05, (p, g))
    # who responds alike acts alike
    values[1:, :p] = factors @ factors.T * 0.5
    values[1:, 20], values[1:, 21] = values[1:, 0], values[1:, 1]
    values[np.arange(1, p + 1), np.arange(p)] = -3
    names = [f"g{j}" for j in range(g)]
    obs = pd.DataFrame({"perturbation": ["control", *names[:p]]},
                       index=[f"r{i}" for i in range(p + 1)])  # fmt: skip
    screen = Screen.of(ad.AnnData(values, obs, pd.DataFrame(index=names)), level="profiles",
                       unit="score", constants={"kind": "ko"})  # fmt: skip
    effects = with_imputed(mean_effects(screen))
    assert len(effects.sources) == g
    others = np.arange(22, 40)
    for twin, copy in ((0, "g20"), (1, "g21")):
        imputed = effects.delta_pg[effects.sources.index_of[copy], others]
        assert np.corrcoef(imputed, effects.delta_pg[twin, others])[0, 1] > 0.8
