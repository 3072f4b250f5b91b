"""Pseudobulk equals a plain loop over cells; halves are fair; responses keep what was measured."""

from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import half_of_cells, nan_means, pseudobulk, responses_of
from perturbkit.data.stats import GroupStats, group_stats


def cells(rng, n=120, g=7, unit="counts", layout=sparse.csr_matrix, **columns) -> Screen:
    x_ng = rng.poisson(0.7, (n, g)).astype(np.float32)
    if unit != "counts":
        x_ng = np.log1p(x_ng)
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "A", "A+B"], n),
            "context": rng.choice(["X", "Y"], n),
            "batch": rng.choice(["1", "2", "3"], n),
        }
        | columns,
        index=[f"c{i}" for i in range(n)],
    )
    var = pd.DataFrame({"chromosome": ["1"] * g}, index=[f"g{i}" for i in range(g)])
    return Screen.of(ad.AnnData(layout(x_ng), obs=obs, var=var), level="cells", unit=unit)


@pytest.mark.parametrize("layout", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
@pytest.mark.parametrize("unit", ["counts", "log1p_cp10k"])
def test_pseudobulk_equals_a_loop_over_cells(rng, layout, unit):
    screen = cells(rng, unit=unit, layout=layout)
    profiles = pseudobulk(screen, np.random.default_rng(1))
    dense = np.asarray(screen.adata.to_df(), np.float64)
    if unit == "counts":
        total = dense.sum(1)
        dense, total = dense[total > 0], total[total > 0]
        dense = np.log1p(dense / total[:, None] * 1e4)
        obs = screen.adata.obs[np.asarray(screen.adata.X.sum(1)).ravel() > 0]
    else:
        obs = screen.adata.obs
    assert profiles.unit == "log1p_cp10k"
    for i, (label, context) in enumerate(
        zip(profiles.adata.obs["perturbation"], profiles.adata.obs["context"], strict=True)
    ):
        mine = dense[((obs["perturbation"] == label) & (obs["context"] == context)).to_numpy()]
        row = profiles.adata[i]
        assert row.obs["n_cells"].iloc[0] == len(mine)
        np.testing.assert_allclose(row.X[0], mine.mean(0), rtol=1e-5)
        np.testing.assert_allclose(row.layers["var"][0], mine.var(0, ddof=1), rtol=1e-4)
        np.testing.assert_allclose(row.layers["fraction"][0], (mine > 0).mean(0), rtol=1e-6)
        halves = np.stack([row.layers["half_a"][0], row.layers["half_b"][0]])
        sizes = [len(mine) // 2, len(mine) - len(mine) // 2]
        means = [np.average(halves, axis=0, weights=w) for w in (sizes, sizes[::-1])]
        assert any(np.allclose(m, mine.mean(0), rtol=1e-4) for m in means)
    assert list(profiles.adata.var.columns) == ["chromosome"]


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=80),
    seed=st.integers(0, 99),
)
def test_halves_differ_by_one_cell_at_most_in_each_condition_and_batch(labels, seed):
    code_n, batch_n = np.array(labels).T
    half_n = half_of_cells(code_n, batch_n, np.random.default_rng(seed))
    assert set(half_n) <= {0, 1}
    for code in set(code_n):
        here = code_n == code
        assert abs(here.sum() - 2 * half_n[here].sum()) <= 1
        for batch in set(batch_n[here]):
            both = here & (batch_n == batch)
            assert abs(both.sum() - 2 * half_n[both].sum()) <= 1


def test_halves_are_random_and_reproducible():
    code_n, batch_n = np.zeros(100, int), np.zeros(100, int)
    halves = [half_of_cells(code_n, batch_n, np.random.default_rng(s)) for s in (0, 0, 1)]
    assert np.array_equal(halves[0], halves[1])
    assert not np.array_equal(halves[0], halves[2])
    often = np.mean([half_of_cells(code_n[:2], batch_n[:2], np.random.default_rng(s))[0]
                     for s in range(300)])  # fmt: skip
    assert 0.4 < often < 0.6


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 20))
def test_statistics_of_chunks_add_up_to_those_of_the_whole(cuts, seed):
    rng = np.random.default_rng(seed)
    x_ng = sparse.random(60, 4, 0.4, format="csr", random_state=rng, dtype=np.float32)
    code_n = rng.integers(-1, 3, 60)
    whole = group_stats(x_ng, code_n, 3)
    total = GroupStats.empty(3, 4)
    edges = [0, *sorted(cuts), 60]
    for low, high in pairwise(edges):
        total = total + group_stats(x_ng[low:high], code_n[low:high], 3)
    assert np.array_equal(total.n_ks, whole.n_ks)
    np.testing.assert_allclose(total.moments_kgs, whole.moments_kgs, rtol=1e-12)
    coarse = whole.merged(np.array([1, -1, 1]), 2)
    assert coarse.n_k.tolist() == [0, whole.n_k[0] + whole.n_k[2]]
    assert np.isnan(coarse.mean_kg[0]).all()
    parts = whole.moments_kgs[[0, 2]].sum(0)
    np.testing.assert_allclose(coarse.moments_kgs[1], parts, rtol=1e-12)


def test_empty_cells_are_left_out_and_small_conditions_keep_nan(rng):
    screen = cells(rng, 30)
    x_ng = screen.adata.X.toarray()
    labels = ["control"] * 27 + ["B", "B", "C"]
    x_ng[0] = 0
    adata = ad.AnnData(sparse.csr_matrix(x_ng), obs=screen.adata.obs.assign(
        perturbation=labels, context="X"), var=screen.adata.var)  # fmt: skip
    profiles = pseudobulk(Screen.of(adata, level="cells", unit="counts"), rng).adata
    assert profiles.obs["n_cells"].tolist() == [26, 2, 1]
    single = profiles["C | X"]
    halves = np.isnan([single.layers["half_a"][0], single.layers["half_b"][0]]).all(1)
    assert sorted(halves) == [False, True]
    assert np.isnan(single.layers["var"]).all()


def test_controls_of_two_kinds_are_one_condition_and_a_perturbation_of_two_is_refused(rng):
    kinds = np.array(["ko", "crispra"] * 60)
    with pytest.raises(SchemaError, match="more than one kind"):
        responses_of(cells(rng, kind=kinds))
    labels = np.where(rng.random(120) < 0.3, "control", np.where(kinds == "ko", "A", "B"))
    responses = responses_of(cells(rng, kind=kinds, perturbation=labels))
    assert responses.is_control.sum() == 2
    assert set(responses.conditions["kind"].to_list()) == {"ko", "crispra", "unknown"}


def test_responses_average_replicate_profiles_and_keep_what_is_missing(rng):
    x_ng = rng.normal(size=(5, 3)).astype(np.float32)
    x_ng[0, 1] = x_ng[4, 2] = np.nan
    obs = pd.DataFrame({"perturbation": ["A", "A", "A", "B", "C"]}, index=list("vwxyz"))
    adata = ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=["g1", "g2", "g3"]))
    responses = responses_of(Screen.of(adata, level="profiles", unit="zscore"))
    assert responses.keys == ["A | default", "B | default", "C | default"]
    np.testing.assert_allclose(responses.mean_cg[0], np.nanmean(x_ng[:3], 0), rtol=1e-6)
    assert np.isnan(responses.mean_cg[2]).tolist() == [False, False, True]
    assert responses.halves.shape == (2, 3, 3)
    assert np.isfinite(responses.halves[:, 0, 0]).all()
    assert np.isnan(responses.halves[:, 1]).any(1).any()


def test_responses_of_cells_and_of_their_profiles_are_the_same(rng):
    screen = cells(rng)
    direct = responses_of(screen, np.random.default_rng(4))
    profiles = pseudobulk(screen, np.random.default_rng(4))
    again = responses_of(profiles)
    assert direct.keys == again.keys
    np.testing.assert_array_equal(direct.values, again.values)
    np.testing.assert_array_equal(direct.halves, again.halves)
    assert direct.conditions["n_cells"].sum() == screen.adata.n_obs - int(
        (np.asarray(screen.adata.X.sum(1)).ravel() == 0).sum()
    )
    with pytest.raises(SchemaError, match="profiles already"):
        pseudobulk(profiles, rng)


def test_papalexi_profiles_show_the_interferon_chain(real_data, monkeypatch):
    from perturbkit.data.screens import open_screen

    monkeypatch.setenv("PERTURBKIT_DATA", str(real_data))
    responses = responses_of(open_screen("papalexi2021"))
    strong = responses.find([f"{g} | THP-1" for g in ("IFNGR1", "IFNGR2", "JAK2", "STAT1")])
    effect = np.linalg.norm(responses.delta_cg(), axis=1)
    others = np.setdiff1d(np.flatnonzero(~responses.is_control), strong)
    assert effect[strong].min() > 1.5 * np.median(effect[others])
    target = responses.readouts.position("PSMB9")
    assert (responses.delta_cg()[strong, target] < 0).all()


def test_nan_means_of_no_rows_are_nan():
    means = nan_means(np.ones((2, 3), np.float32), np.array([1, -1]), 3)
    assert np.isnan(means[[0, 2]]).all()
    assert (means[1] == 1).all()
