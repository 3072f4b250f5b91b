import numpy as np
import polars as pl
import pytest
from sklearn.decomposition import PCA

from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.bilinear_ridge import BilinearRidge, BilinearRidgeConfig, bilinear


def test_formula_solves_its_normal_equations(rng) -> None:
    Y, G, P = rng.normal(size=(9, 7)), rng.normal(size=(9, 3)), rng.normal(size=(7, 2))
    K = bilinear(Y, G, P, 0.1)
    left, right = G.T @ G + 0.1 * np.eye(3), P.T @ P + 0.1 * np.eye(2)
    np.testing.assert_allclose(left @ K @ right, G.T @ Y @ P, atol=1e-10)


def test_formula_recovers_a_planted_matrix(rng) -> None:
    G, P, K = rng.normal(size=(50, 3)), rng.normal(size=(40, 2)), rng.normal(size=(3, 2))
    np.testing.assert_allclose(bilinear(G @ K @ P.T, G, P, 1e-9), K, atol=1e-6)


def test_whole_fit_equals_the_paper_written_out(rng) -> None:
    """PCA by sklearn over profiles and control, rows of the perturbed genes, means added."""
    genes = [f"G{i}" for i in range(20)]
    names = ["control", *genes[:12], "G1+G5"]
    values = (rng.gamma(3, 1, 20) + 0.4 * rng.normal(size=(14, 20))).astype(np.float32)
    table = pl.DataFrame({"perturbation": names, "context": ["x"] * 14})
    train = Responses(values[None], table, Vocabulary(genes, "readout"), "log1p_cp10k")
    model = BilinearRidge.fit(BilinearRidgeConfig(components=4), train, None, rng)

    G = PCA(4, svd_solver="full").fit_transform(values.T.astype(np.float64))
    P = np.vstack([np.zeros(4), G[:12], G[1] + G[5]])
    Y = (values - values[0]).T.astype(np.float64)
    b = Y.mean(1, keepdims=True)
    K = np.linalg.inv(G.T @ G + 0.1 * np.eye(4)) @ G.T @ (Y - b) @ P
    K = K @ np.linalg.inv(P.T @ P + 0.1 * np.eye(4))
    asked = pl.DataFrame({"perturbation": ["G3", "G15", "G2+G15"], "context": ["x"] * 3})
    predicted = model.predict(asked)
    expected = values[0] + (G @ K @ np.stack([G[3], G[15], G[2] + G[15]]).T + b).T
    np.testing.assert_allclose(predicted.mean_cg, expected, atol=1e-4)
    assert predicted.conditions["status"].to_list() == ["seen", "prior", "prior"]


def test_target_that_is_no_readout_is_refused(planted_law, rng) -> None:
    model = BilinearRidge.fit(BilinearRidgeConfig(), planted_law.truth, None, rng)
    asked = pl.DataFrame({"perturbation": ["G35", "R05", "G01+G35"], "context": ["skin"] * 3})
    predicted = model.predict(asked)
    assert predicted.conditions["status"].to_list() == ["refused", "prior", "refused"]
    assert np.isnan(predicted.mean_cg[[0, 2]]).all()


def test_features_take_the_place_of_the_readouts(planted_law, rng) -> None:
    held = [f"{t} | {c}" for t in planted_law.targets[13:25:3] for c in planted_law.contexts]
    train, test = planted_law.split(held)
    errors = []
    for features in (planted_law.features, None):
        model = BilinearRidge.fit(BilinearRidgeConfig(), train, features, rng)
        errors.append(
            np.sqrt(((model.predict(test.conditions).mean_cg - test.mean_cg) ** 2).mean())
        )
    spread = test.delta_cg().std() if test.unit == "log2fc" else 0.5
    assert errors[0] < 0.5 * spread
    assert errors[0] < 0.5 * errors[1]  # the planted readouts' own patterns say nothing


@pytest.mark.parametrize("components", [1, 200])
def test_more_components_than_there_are(planted_law, rng, components: int) -> None:
    model = BilinearRidge.fit(
        BilinearRidgeConfig(components=components), planted_law.truth, None, rng
    )
    asked = pl.DataFrame({"perturbation": ["G03"], "context": ["skin"]})
    assert np.isfinite(model.predict(asked).mean_cg).all()
