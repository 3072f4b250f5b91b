"""Differential expression against scipy, planted effects, and null data."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse, stats

from perturbkit.core.errors import ConfigError, SchemaError, UnitError
from perturbkit.core.screen import Screen
from perturbkit.data.de import differential_expression, log_normalized, t_quantile
from perturbkit.data.profiles import pseudobulk


def screen(rng, n=300, g=12, effect=0.0, unit="counts") -> Screen:
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "A", "B"], n),
            "context": rng.choice(["X", "Y"], n),
        },
        index=[f"c{i}" for i in range(n)],
    )
    rate = np.full((n, g), 3.0)
    rate[(obs["perturbation"] == "A").to_numpy(), 0] *= np.exp(effect)
    rate[:, 3] = 0
    x_ng = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    adata = ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(g)]))
    return Screen.of(adata, level="cells", unit=unit)


def groups(s: Screen, label: str, context: str) -> tuple[np.ndarray, np.ndarray]:
    dense = log_normalized(s.adata.X).toarray().astype(float)
    obs = s.adata.obs
    return tuple(dense[((obs["perturbation"] == n) & (obs["context"] == context)).to_numpy()]
                 for n in (label, "control"))  # fmt: skip


@pytest.mark.parametrize("method", ["wilcoxon", "welch"])
def test_p_values_equal_scipy(rng, method):
    s = screen(rng, effect=0.5)
    table = differential_expression(s, method)
    assert table.height == 4 * 12
    for label, context in [("A", "X"), ("B", "Y")]:
        mine = table.filter(perturbation=label, context=context)
        a, b = groups(s, label, context)
        if method == "welch":
            expected = stats.ttest_ind(a, b, equal_var=False)
            interval = expected.confidence_interval()
            varies = np.arange(12) != 3
            np.testing.assert_allclose(
                mine["effect_low"].to_numpy()[varies], interval.low[varies], rtol=1e-4, atol=1e-6
            )
            np.testing.assert_allclose(
                mine["effect_high"].to_numpy()[varies], interval.high[varies], rtol=1e-4, atol=1e-6
            )
            statistic = expected.statistic
        else:
            expected = stats.mannwhitneyu(a, b, method="asymptotic")
            statistic = expected.statistic / (len(a) * len(b))
        p_value = np.nan_to_num(expected.pvalue, nan=1.0)
        np.testing.assert_allclose(mine["p_value"].to_numpy(), p_value, rtol=1e-6)
        keep = np.isfinite(statistic)
        np.testing.assert_allclose(mine["statistic"].to_numpy()[keep], statistic[keep], rtol=1e-4)
        fdr = stats.false_discovery_control(p_value)
        np.testing.assert_allclose(mine["fdr"].to_numpy(), fdr, rtol=1e-6)
        np.testing.assert_allclose(mine["effect"].to_numpy(), a.mean(0) - b.mean(0), atol=1e-5)
        fold = np.log2((np.expm1(a.mean(0)) + 1) / (np.expm1(b.mean(0)) + 1))
        np.testing.assert_allclose(mine["log2fc"].to_numpy(), fold, atol=1e-5)


@pytest.mark.parametrize("method", ["wilcoxon", "welch"])
def test_a_planted_effect_is_found_and_nothing_else(rng, method):
    table = differential_expression(screen(rng, n=1200, effect=0.6), method)
    found = table.filter(pl.col("fdr") < 0.01)
    assert set(found.select("perturbation", "readout").rows()) >= {("A", "g0")}
    assert set(found.filter(perturbation="A")["context"]) == {"X", "Y"}
    null = differential_expression(screen(rng, n=1200), method)
    assert null.filter(pl.col("p_value") < 0.05).height < 0.15 * null.height


def test_everything_is_finite_and_bounded(rng):
    for method in ("wilcoxon", "welch"):
        table = differential_expression(screen(rng), method)
        numbers = table.select(pl.col(pl.Float32, pl.Float64)).drop("dose_um", "time_h")
        assert np.isfinite(numbers.to_numpy()).all()
        assert (table["effect_low"] <= table["effect_high"]).all()
        silent = table.filter(pl.col("readout") == "g3")
        assert (silent["p_value"] == 1).all()
        assert (silent["log2fc"] == 0).all()


def test_too_few_cells_have_an_effect_and_no_p_value(rng):
    s = screen(rng)
    obs = s.adata.obs.copy()
    obs["perturbation"] = obs["perturbation"].astype(str)
    obs["context"] = "X"
    obs.iloc[0, obs.columns.get_loc("perturbation")] = "C"
    single = Screen.of(ad.AnnData(s.adata.X, obs=obs, var=s.adata.var), level="cells",
                       unit="counts")  # fmt: skip
    table = differential_expression(single, "welch").filter(perturbation="C")
    assert table["p_value"].is_nan().all()
    assert table["effect"].is_finite().all()
    ranks = differential_expression(single, "wilcoxon").filter(perturbation="C")
    assert (ranks["n_cells"] == 1).all()
    assert ranks["p_value"].is_between(0, 1).all()


def test_what_cannot_be_compared_is_refused(rng):
    s = screen(rng)
    with pytest.raises(ConfigError, match="no method named"):
        differential_expression(s, "deseq")
    with pytest.raises(SchemaError, match="needs cells"):
        differential_expression(pseudobulk(s, rng))
    obs = s.adata.obs.copy()
    obs["context"] = np.where(obs["perturbation"] == "control", "X", "Y")
    apart = Screen.of(ad.AnnData(s.adata.X, obs=obs, var=s.adata.var), level="cells",
                      unit="counts")  # fmt: skip
    with pytest.raises(SchemaError, match="context 'Y' has no control"):
        differential_expression(apart)


def test_the_quantile_of_t_is_that_of_scipy():
    df = np.r_[np.linspace(1, 400, 300), 1e4, 1e8, np.nan]
    np.testing.assert_allclose(t_quantile(df, 0.975), stats.t.ppf(0.975, df), rtol=1e-7)


def test_papalexi_finds_the_interferon_targets(real_data, monkeypatch):
    from perturbkit.data.screens import open_screen

    monkeypatch.setenv("PERTURBKIT_DATA", str(real_data))
    table = differential_expression(open_screen("papalexi2021"))
    n = dict(table.filter(pl.col("fdr") < 0.01).group_by("perturbation").len().rows())
    strong = [n.get(g, 0) for g in ("IFNGR1", "IFNGR2", "JAK2", "STAT1")]
    weak = sorted(n.get(g, 0) for g in table["perturbation"].unique())
    assert min(strong) > 25
    assert np.median(weak) < 0.5 * min(strong)


def batched(rng, effect=1.0, n=600, g=40) -> Screen:
    s = screen(rng, n=n, g=g, effect=effect)
    obs = s.adata.obs.copy()
    obs["context"], obs["batch"] = "X", rng.choice(["1", "2", "3"], n)
    return Screen.of(ad.AnnData(s.adata.X, obs=obs, var=s.adata.var), level="cells", unit="counts")


def test_pseudobulk_is_the_model_of_pydeseq2(rng):
    dds = pytest.importorskip("pydeseq2.dds")
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats

    one = DefaultInference(n_cpus=1)
    s = batched(rng)
    table = differential_expression(s, "pydeseq2")
    assert set(table["perturbation"]) == {"A", "B"}
    mine = table.filter(perturbation="A")
    obs = s.adata.obs
    key = obs["perturbation"].astype(str) + "/" + obs["batch"].astype(str)
    frame = pd.DataFrame(s.adata.X.toarray(), obs.index, s.adata.var_names).groupby(key).sum()
    frame = frame.loc[[k for k in frame.index if k[0] in "Ac"]].astype(int)
    frame = frame.loc[:, frame.sum() > 0]
    pairs = [k.split("/") for k in frame.index]
    about = pd.DataFrame(pairs, frame.index, ["condition", "batch"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dds.DeseqDataSet(counts=frame, metadata=about, design="~batch + condition",
                                refit_cooks=False, quiet=True, inference=one)  # fmt: skip
        data.deseq2()
        theirs = DeseqStats(data, ["condition", "A", "control"], cooks_filter=False,
                            independent_filter=False, quiet=True, inference=one)  # fmt: skip
        theirs.summary()
    expected = theirs.results_df
    kept = mine.filter(pl.col("readout").is_in(list(frame.columns)))
    np.testing.assert_allclose(kept["p_value"], expected["pvalue"], rtol=1e-4)
    np.testing.assert_allclose(kept["log2fc"], expected["log2FoldChange"], rtol=1e-3, atol=1e-5)
    width = (kept["effect_high"] - kept["effect_low"]).to_numpy() / np.log(2) / 2
    np.testing.assert_allclose(width, expected["lfcSE"] * 1.959964, rtol=1e-3)
    silent = mine.filter(readout="g3")
    assert silent.select("p_value", "log2fc").row(0) == (1.0, 0.0)
    found = table.filter(pl.col("fdr") < 0.05).select("perturbation", "readout").rows()
    assert ("A", "g0") in found
    assert len(found) < 6


def test_pseudobulk_without_replicates_is_refused(rng):
    pytest.importorskip("pydeseq2")
    with pytest.raises(SchemaError, match="at least two batches"):
        differential_expression(screen(rng), "pydeseq2")
    s = batched(rng)
    logs = Screen.of(ad.AnnData(log_normalized(s.adata.X), obs=s.adata.obs, var=s.adata.var),
                     level="cells", unit="log1p_cp10k")  # fmt: skip
    with pytest.raises(UnitError, match="raw counts"):
        differential_expression(logs, "pydeseq2")
