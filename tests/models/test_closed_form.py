import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import Ridge

from perturbkit.models.closed_form import RidgePath, centred, leading_directions, slope


@pytest.mark.parametrize("shape", [(30, 80), (80, 30), (700, 650)])
def test_directions_span_those_of_sklearn(shape: tuple[int, int], rng) -> None:
    low = rng.normal(size=(shape[0], 5)) @ rng.normal(size=(5, shape[1])) * 3
    x = low + 0.01 * rng.normal(size=shape)
    found = leading_directions(x, 5, rng)
    np.testing.assert_allclose(found @ found.T, np.eye(5), atol=1e-4)
    expected = TruncatedSVD(5, algorithm="arpack", random_state=0).fit(x).components_
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1, atol=1e-4)
    assert (np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1) > 0).all()


def test_directions_without_variance_are_left_out(rng) -> None:
    x = np.outer(rng.normal(size=9), rng.normal(size=7))
    assert len(leading_directions(x, 5, rng)) == 1
    assert len(leading_directions(np.zeros((4, 3)), 2, rng)) == 0


def test_ridge_equals_sklearn_and_leaving_one_out_equals_refitting(rng) -> None:
    x, y = rng.normal(size=(25, 6)), rng.normal(size=(25, 3))
    rows = np.arange(20)
    gram = centred(x @ x.T, rows)
    path = RidgePath(gram[:20, :20], y[:20])
    for ridge in (0.01, 0.5, 5.0):
        alpha = ridge * path.unit
        oracle = Ridge(alpha=alpha).fit(x[:20], y[:20])
        predicted = gram[:, :20] @ path.dual_nr(ridge) + path.mean_r
        np.testing.assert_allclose(predicted, oracle.predict(x), atol=1e-8)
        others = [np.delete(rows, i) for i in rows]
        fits = [Ridge(alpha=alpha).fit(x[o], y[o]) for o in others]
        refitted = [y[i] - fits[i].predict(x[i : i + 1])[0] for i in rows]
        np.testing.assert_allclose(path.missed_nr(ridge), refitted, atol=1e-8)
        expected = np.square(refitted).sum()
        np.testing.assert_allclose(path.errors((ridge,)), expected, rtol=1e-8)


def test_slope_is_least_squares_within_zero_and_one() -> None:
    x = np.array([1.0, 2.0])
    assert slope(x, 0.4 * x) == pytest.approx(0.4)
    assert slope(x, -x) == 0
    assert slope(x, 3 * x) == 1
    assert slope(0 * x, x) == 0
