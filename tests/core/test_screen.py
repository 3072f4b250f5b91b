"""A Screen is checked at birth and speaks of what is wrong in the user's words."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core.errors import SchemaError, UnitError
from perturbkit.core.screen import Screen


def adata(labels: list[str], x: np.ndarray | None = None, **columns: list) -> ad.AnnData:
    n = len(labels)
    x = np.ones((n, 2), np.float32) if x is None else x
    obs = pd.DataFrame({"perturbation": labels, **columns}, index=[f"c{i}" for i in range(n)])
    return ad.AnnData(sparse.csr_matrix(x), obs, pd.DataFrame(index=["g", "h"]))


def test_labels_become_canonical_and_doses_columns() -> None:
    raw = adata(["ctrl", "B+A", "drug@10uM", "drug@1uM", "A+B"])
    screen = Screen.of(raw, level="cells", unit="counts", constants={"context": "T"})
    assert list(screen.perturbations) == ["control", "A+B", "drug"]
    assert screen.conditions["dose_um"].to_list() == [None, None, 10.0, 1.0]
    assert screen.conditions["n_cells"].to_list() == [1, 2, 1, 1]
    assert screen.row_codes().tolist() == [0, 1, 2, 3, 1]
    assert list(screen.targets) == ["A", "B", "drug"]
    assert next(iter(raw.obs["perturbation"])) == "ctrl", "the input is not changed"


def test_a_dosed_vehicle_is_one_control() -> None:
    screen = Screen.of(
        adata(["control", "control", "drug"], dose_um=[0.0, 10.0, 10.0]),
        level="cells", unit="counts",
    )  # fmt: skip
    assert screen.conditions.height == 2


def test_a_missing_control_lists_the_labels() -> None:
    with pytest.raises(SchemaError, match=r"no row is a control.*'DMSO'"):
        Screen.of(adata(["DMSO", "drug"]), level="cells", unit="counts")


def test_relative_units_need_no_control() -> None:
    x = np.array([[0.5, -0.5]], np.float32)
    assert Screen.of(adata(["A"], x), level="profiles", unit="signed_rank").unit == "signed_rank"


@pytest.mark.parametrize(
    ("x", "unit", "message"),
    [
        ([[1.5, 0], [0, 0]], "counts", "fractional values, and counts are whole"),
        ([[-1, 0], [0, 0]], "counts", "negative values"),
        ([[-1, 0], [0, 0]], "log1p_cp10k", "negative values"),
        ([[900, 0], [0, 0]], "log1p_cp10k", "too large for log1p"),
        ([[2, 0], [0, 0]], "signed_rank", r"signed ranks lie in \[-1, 1\]"),
        ([[np.inf, 0], [0, 0]], "zscore", "1 infinite values"),
        ([[np.nan, 0], [0, 0]], "zscore", "1 missing values"),
        ([[1, 0], [0, 0]], "tpm", "unit 'tpm' is not known"),
    ],
)
def test_values_must_suit_the_unit(x: list, unit: str, message: str) -> None:
    with pytest.raises(UnitError, match=message):
        Screen.of(adata(["control", "A"], np.array(x, np.float32)), level="cells", unit=unit)


def test_names_must_be_unique_and_columns_present() -> None:
    data = adata(["control", "A"])
    with pytest.raises(SchemaError, match="obs has no column 'gene'"):
        Screen.of(data, level="cells", unit="counts", perturbation="gene")
    data.obs_names = ["c", "c"]
    with pytest.raises(SchemaError, match=r"row name.* more than once"):
        Screen.of(data, level="cells", unit="counts")


def test_unlabelled_rows_are_refused() -> None:
    data = adata(["control", "A"])
    data.obs.loc["c1", "perturbation"] = None
    with pytest.raises(SchemaError, match="1 rows have no perturbation label"):
        Screen.of(data, level="cells", unit="counts")
