"""perturb-lib's four scores, pooled over every pair of condition and readout."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.metrics.align import align
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.metrics.r2 import r2_rows


def pooled(truth: Responses, predicted: Responses) -> dict[str, float]:
    """Score all measured values as one long list: rmse, mae, r2, pearson.

    Large where readouts differ much from each other, whatever is predicted; the scores of each
    condition say more.

    Args:
        truth: measured conditions with their controls, which are not scored.
        predicted: predictions; refused conditions are left out.

    Returns:
        The four scores and `n`, the number of values.

    Raises:
        UnitError: mixed units or scales.

    Source:
        perturb-lib 0.3, evaluators.
    """
    aligned = align(truth, {"model": predicted}, None)
    measured, offered = aligned.truth.mean_cg, aligned.predictions["model"].mean_cg
    known = np.isfinite(measured) & np.isfinite(offered)
    x, y = measured[known].astype(np.float64)[None], offered[known].astype(np.float64)[None]
    if not x.size:
        return dict.fromkeys(("rmse", "mae", "r2", "pearson"), float("nan")) | {"n": 0}
    gap = y - x
    return {
        "rmse": float(np.sqrt(np.mean(gap**2))), "mae": float(np.abs(gap).mean()),
        "r2": float(r2_rows(x, y)[0]), "pearson": float(pearson_rows(x, y)[0]), "n": x.size,
    }  # fmt: skip
