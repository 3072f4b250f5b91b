"""Predicted responses as a screen of profiles, so that any method can explain a model."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen


def screen_of(responses: Responses) -> Screen:
    """Return the mean over members as a screen of profiles; refused conditions are left out.

    A linear model may say slightly less than nothing of a readout near zero: in logs of counts,
    which cannot be negative, that is zero.

    Raises:
        SchemaError: nothing was predicted.
    """
    values = responses.mean_cg
    if responses.unit == "log1p_cp10k":
        values = np.maximum(values, 0)  # NaN stays NaN
    kept = np.asarray(~np.isnan(values).all(1))
    if not kept.any():
        message = (
            f"all {len(kept)} conditions were refused, so there is nothing to explain; "
            "ask for perturbations the model can predict"
        )
        raise SchemaError(message)
    table = responses.conditions.drop("status").with_columns(pl.col("n_cells").fill_null(0))
    columns = {n: table[n].to_numpy()[kept] for n in table.columns}
    obs = pd.DataFrame(columns)
    obs.index = pd.Index([k for k, keep in zip(responses.keys, kept, strict=True) if keep])
    adata = ad.AnnData(values[kept], obs, pd.DataFrame(index=list(responses.readouts)))
    return Screen.of(adata, level="profiles", unit=responses.unit)
