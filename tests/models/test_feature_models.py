"""knn and kernel_ridge: oracles by sklearn, and planted gene vectors that they must use."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

from perturbkit.core.features import Features
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models import MODELS
from perturbkit.models.kernel_ridge import KernelRidge, KernelRidgeConfig, squared_distances
from perturbkit.models.knn import Knn, KnnConfig, choose_neighbours, cosine, neighbour_weights


@pytest.fixture(scope="module")
def unseen(planted_law):
    held = [f"{t} | {c}" for t in planted_law.targets[13:28:3] for c in planted_law.contexts]
    return planted_law.split(held)


def error(predicted, test) -> float:
    return float(np.sqrt(((predicted.mean_cg - test.mean_cg) ** 2).mean()))


def fit(name: str, train, features):
    card = MODELS[name]
    return card.model.fit(card.config(), train, features, np.random.default_rng(0))


def test_cosine_and_distances_equal_sklearn(rng) -> None:
    x, y, centre = rng.normal(size=(5, 4)), rng.normal(size=(6, 4)), rng.normal(size=4)
    np.testing.assert_allclose(cosine(x, y, centre), cosine_similarity(x - centre, y - centre))
    np.testing.assert_allclose(squared_distances(x, y), euclidean_distances(x, y, squared=True))


def test_weights_by_hand() -> None:
    similarity = np.array([[0.9, 0.3, 0.6, -0.2], [-np.inf, -0.1, -0.2, -0.3]])
    expected = [[0.6, 0, 0.4, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(neighbour_weights(similarity, 2), expected)


def test_choice_equals_brute_force(rng) -> None:
    x = rng.normal(size=(30, 2))
    deviation = x @ rng.normal(size=(2, 20)) + rng.normal(size=(30, 20))
    similarity = cosine(x, x, x.mean(0))
    np.fill_diagonal(similarity, -np.inf)
    candidates = (1, 3, 8)
    n, factor = choose_neighbours([similarity], [deviation @ deviation.T], candidates)
    errors = {
        (k, f): ((deviation - f * neighbour_weights(similarity, k) @ deviation) ** 2).sum()
        for k in candidates
        for f in np.linspace(0, 1, 101)
    }
    best = min(errors, key=errors.get)
    assert n == best[0]
    assert factor == pytest.approx(best[1], abs=0.01)


def test_shuffled_features_are_given_no_weight(planted_law, unseen) -> None:
    """Features that say nothing: the shrinkage must fall back on the context mean."""
    train, test = unseen
    rng = np.random.default_rng(2)
    noise = Features(Vocabulary(planted_law.targets), rng.normal(size=(40, 8)))
    mean = error(fit("context_mean", train, None).predict(test.conditions), test)
    for name in ("knn", "kernel_ridge"):
        assert error(fit(name, train, noise).predict(test.conditions), test) < 1.1 * mean


@pytest.mark.parametrize(("name", "share"), [("knn", 0.65), ("kernel_ridge", 0.25)])
def test_planted_features_beat_the_mean(planted_law, unseen, name: str, share: float) -> None:
    train, test = unseen
    predicted = fit(name, train, planted_law.features).predict(test.conditions)
    mean = fit("context_mean", train, None).predict(test.conditions)
    assert error(predicted, test) < share * error(mean, test)
    status = {"knn": "neighbour", "kernel_ridge": "prior"}[name]
    assert predicted.conditions["status"].to_list() == [status] * 15


def test_neighbours_are_named(planted_law, unseen) -> None:
    train, test = unseen
    model = Knn.fit(KnnConfig(neighbours=(2,)), train, planted_law.features, None)
    predicted = model.predict(test.conditions[:1])
    target = test.conditions["perturbation"][0]
    vectors = planted_law.features.values
    own = planted_law.features.names.position(target)
    known = [i for i, t in enumerate(planted_law.targets) if f"{t} | blood" in train.keys]
    centred = vectors - vectors[known].mean(0)
    similarity = cosine_similarity(centred[own : own + 1], centred[known])[0]
    order = [planted_law.targets[known[i]] for i in np.argsort(-similarity)[:2]]
    named = predicted.conditions["neighbours"][0]
    assert [n.split(" ")[0] for n in named.split(", ")] == order


def test_kernel_ridge_equals_a_gaussian_process_mean(planted_law, rng) -> None:
    """One context, one setting: posterior mean of a centred kernel with intercept, written out."""
    truth = planted_law.truth
    train = truth.select((truth.contexts == "skin") & ~np.isin(truth.keys, ["G20 | skin"]))
    config = KernelRidgeConfig(widths=(1.0,), ridges=(0.5,))
    model = KernelRidge.fit(config, train, planted_law.features, rng)
    asked = pl.DataFrame({"perturbation": ["G20"], "context": ["skin"]})
    names = [k.split(" ")[0] for k in train.keys if "control" not in k]
    x = planted_law.features.within(names).values.astype(np.float64)
    new = planted_law.features.within(["G20"]).values.astype(np.float64)
    squares = euclidean_distances(x, squared=True)
    gamma = 1 / np.median(squares[np.triu_indices(len(x), 1)])
    H = np.eye(len(x)) - 1 / len(x)
    kernel = np.exp(-gamma * squares)
    to_new = np.exp(-gamma * euclidean_distances(new, x, squared=True))
    change = train.delta_cg()[~train.is_control].astype(np.float64)
    Kc = H @ kernel @ H
    dual = np.linalg.solve(Kc + 0.5 * np.trace(Kc) / len(x) * np.eye(len(x)), H @ change)
    expected = change.mean(0) + (to_new - kernel.mean(0)) @ H @ dual
    got = model.predict(asked).mean_cg - train.control_of(["skin"])
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["knn", "kernel_ridge"])
def test_targets_without_features_are_refused(planted_law, name: str) -> None:
    few = planted_law.features.within(planted_law.targets[:20])
    model = fit(name, planted_law.truth, few)
    asked = pl.DataFrame({"perturbation": ["G30", "G05", "G05+G30"], "context": ["skin"] * 3})
    predicted = model.predict(asked)
    assert predicted.conditions["status"].to_list() == ["refused", "seen", "refused"]


@pytest.mark.parametrize("name", ["knn", "kernel_ridge"])
def test_without_any_features_everything_but_controls_is_refused(planted_law, name: str) -> None:
    compounds = planted_law.truth.with_readouts(Vocabulary([f"R{i:02d}" for i in range(30)]))
    predicted = fit(name, compounds, None).predict(compounds.conditions)
    status = np.array(predicted.conditions["status"].to_list())
    np.testing.assert_array_equal(status == "refused", ~compounds.is_control)
