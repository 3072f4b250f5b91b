"""The pair of screens that cell-eval 0.8.2 was measured on, and a small planted one."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core.screen import Screen


def _counts(mean_g: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    rate = rng.gamma(2.0, mean_g / 2.0, (n, len(mean_g)))
    return rng.poisson(rate).astype(np.float32)


def _adata(x: np.ndarray, labels: list[str], unit: str) -> ad.AnnData:
    if unit != "counts":
        total = x.sum(1, keepdims=True)
        x = np.log1p(x / np.maximum(total, 1) * np.median(total)).astype(np.float32)
    obs = pd.DataFrame(
        {"target_gene": pd.Categorical(labels)}, index=[str(i) for i in range(len(labels))]
    )
    genes = pd.DataFrame(index=[f"G{i}" for i in range(x.shape[1])])
    return ad.AnnData(sparse.csr_matrix(x), obs=obs, var=genes)


def make_pair(
    n_perturbations: int, n_cells: int, n_genes: int, n_control: int, unit: str = "log1p_cp10k"
) -> tuple[ad.AnnData, ad.AnnData]:
    """Measured and predicted cells; the draws are those of the script cell-eval was timed with."""
    rng = np.random.default_rng(0)
    base = rng.gamma(0.6, 1.2, n_genes).astype(np.float32)
    sides = []
    for predicted in (False, True):
        x, labels = [_counts(base, n_control, rng)], ["non-targeting"] * n_control
        for i in range(n_perturbations):
            own = np.random.default_rng(1000 + i)
            change = np.zeros(n_genes)
            k = own.integers(20, 300)
            at = own.choice(n_genes, k, replace=False)
            change[at] = own.normal(0, 0.8, k)
            change[i] = -3
            if predicted:
                change = 0.6 * change + own.normal(0, 0.1, n_genes)
            x.append(_counts(base * np.exp(change), n_cells, rng))
            labels += [f"G{i}"] * n_cells
        sides.append(_adata(np.vstack(x), labels, unit))
    return sides[0], sides[1]


def to_screen(adata: ad.AnnData, unit="log1p_cp10k") -> Screen:
    labelled = adata.copy()
    labels = labelled.obs["target_gene"].astype(str)
    labelled.obs["target_gene"] = labels.replace({"non-targeting": "control"})
    return Screen.of(labelled, level="cells", unit=unit, perturbation="target_gene")


@pytest.fixture(scope="session")
def published_pair() -> tuple[Screen, Screen]:
    truth, predicted = make_pair(100, 100, 2000, 1000)
    return to_screen(truth), to_screen(predicted)


@pytest.fixture(scope="session")
def small_adata() -> tuple[ad.AnnData, ad.AnnData]:
    return make_pair(12, 30, 320, 60)


@pytest.fixture(scope="session")
def small_pair(small_adata) -> tuple[Screen, Screen]:
    return to_screen(small_adata[0]), to_screen(small_adata[1])


@pytest.fixture(scope="session")
def small_counts_pair() -> tuple[Screen, Screen]:
    """The small pair as counts, which every metric of cells takes."""
    truth, predicted = make_pair(12, 30, 320, 60, "counts")
    return to_screen(truth, "counts"), to_screen(predicted, "counts")
