"""Probabilities mapped so that of those called p a share p is true, by a law learned elsewhere."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

LEAST_LIKELY = 0.03
"""probabilities below this, nearly all pairs of a network, do not take part in learning"""


class Recalibration(NamedTuple):
    """Odds are exp(c) p^a / (1 - p)^b; the order of probabilities stays.

    Source:
        Kull, Silva Filho & Flach 2017, doi:10.1214/17-EJS1338SI (beta calibration).
    """

    c: float
    a: float
    b: float

    def of(self, probability: np.ndarray) -> np.ndarray:
        """Return the mapped probabilities; none stays none."""
        odds = np.tensordot(np.array(self), _features(probability), 1)
        return np.where(probability > 0, expit(odds), 0.0)

    @classmethod
    def learned(cls, probability_n: np.ndarray, truth_n: np.ndarray) -> "Recalibration":
        """Return the law of the largest likelihood; a and b are not negative.

        Args:
            probability_n: probabilities of pairs; those below LEAST_LIKELY are left out.
            truth_n: whether each was true.
        """
        kept = probability_n > LEAST_LIKELY
        x, y = _features(probability_n[kept]), truth_n[kept].astype(float)

        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            odds = w @ x
            value = float(np.mean(np.logaddexp(0, odds) - y * odds))
            return value, x @ (expit(odds) - y) / y.size

        found = minimize(loss, np.array([0.0, 1.0, 1.0]), jac=True, method="L-BFGS-B",
                         bounds=[(None, None), (0, None), (0, None)])  # fmt: skip
        return cls(*(float(v) for v in found.x))


def _features(probability: np.ndarray) -> np.ndarray:
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return np.stack([np.ones(p.shape), np.log(p), -np.log1p(-p)])
