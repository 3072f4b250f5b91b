"""Every acquisition function: k distinct free conditions, the same for the same generator."""

import numpy as np
import pytest
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.design.acquire import ACQUISITIONS, History
from perturbkit.design.policy import as_responses

NAMES = list(ACQUISITIONS)


def planted(n=300, m=6, d=8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    truth = x[:, 0] * 2.0
    values = truth + rng.normal(size=(m, n)) * np.abs(x[:, 1])
    pairs = rng.integers(n, size=(2, 6 * n))
    a = sparse.csr_array((np.ones(6 * n, np.float32), pairs), shape=(n, n))
    a = sparse.csr_array(((a + a.T) > 0).astype(np.float32))
    taken = np.zeros(n, bool)
    taken[:40] = True
    outcome = np.where(np.arange(n) < 30, truth, np.nan)
    responses = as_responses([f"G{i}" for i in range(n)], values)
    history = History(taken, outcome, x, a, hit_above=2.0, noise=0.5, essential=truth > 1.5,
                      kernels=(x[:, :3],))  # fmt: skip
    return responses, history, truth


@pytest.mark.parametrize("name", NAMES)
def test_it_chooses_k_free_conditions(name):
    responses, history, _ = planted()
    for k in (1, 50, 260):
        rng = np.random.default_rng(1)
        chosen = ACQUISITIONS[name].fn(responses, k, rng, history=history)
        assert chosen.dtype == np.int64
        assert len(np.unique(chosen)) == len(chosen) == k
        assert not history.taken[chosen].any()
        same = ACQUISITIONS[name].fn(responses, k, np.random.default_rng(1), history=history)
        assert np.array_equal(chosen, same)
    with pytest.raises(SchemaError, match="261 conditions are asked for and 260"):
        ACQUISITIONS[name].fn(responses, 261, rng, history=history)


@pytest.mark.parametrize("name", NAMES)
def test_it_works_with_the_least_it_needs(name):
    responses, _, _ = planted()
    bare = History.empty(300)
    if "adjacency" in ACQUISITIONS[name].needs:
        with pytest.raises(SchemaError, match="needs a network"):
            ACQUISITIONS[name].fn(responses, 5, np.random.default_rng(0), history=bare)
        return
    if "essential" in ACQUISITIONS[name].needs:
        with pytest.raises(SchemaError, match="needs a list of essential genes"):
            ACQUISITIONS[name].fn(responses, 5, np.random.default_rng(0), history=bare)
        return
    assert len(ACQUISITIONS[name].fn(responses, 5, np.random.default_rng(0), history=bare)) == 5


@pytest.mark.parametrize(
    "name", ["greedy", "ucb", "thompson", "probability_of_hit", "expected_improvement",
             "linear_bandit", "mixture", "essentials"],
)  # fmt: skip
def test_those_that_seek_hits_find_the_planted_ones(name):
    responses, history, truth = planted()
    chosen = ACQUISITIONS[name].fn(responses, 30, np.random.default_rng(0), history=history)
    free = np.flatnonzero(~history.taken)
    assert truth[chosen].mean() > truth[free].mean() + 2 * truth[free].std() * 0.5


@pytest.mark.parametrize("name", ["uncertainty", "bald", "batch_bald", "badge"])
def test_those_that_seek_doubt_find_the_planted_doubt(name):
    responses, history, _ = planted()
    doubt = np.abs(history.features_cd[:, 1])
    chosen = ACQUISITIONS[name].fn(responses, 30, np.random.default_rng(0), history=history)
    assert doubt[chosen].mean() > doubt.mean() * 1.2


@pytest.mark.parametrize("name", ["core_set", "k_means", "typiclust", "lcmd", "prior_kernels"])
def test_those_that_cover_visit_every_planted_cluster(name):
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(10, 6)) * 20
    label = np.repeat(np.arange(10), [80, 80, 80, 20, 20, 20, 5, 5, 5, 5])
    x = (centre[label] + rng.normal(size=(len(label), 6))).astype(np.float32)
    responses = as_responses([str(i) for i in range(len(x))], rng.normal(size=(3, len(x))) * 0.01)
    history = History(np.zeros(len(x), bool), np.full(len(x), np.nan), x)
    chosen = ACQUISITIONS[name].fn(responses, 20, np.random.default_rng(1), history=history)
    by_chance = len(np.unique(label[rng.permutation(len(x))[:20]]))
    assert len(np.unique(label[chosen])) >= max(9, by_chance)


def test_core_set_keeps_away_from_all_earlier_rounds():
    x = np.array([[0.0], [10.0], [5.0], [0.1], [9.9]], np.float32)
    taken = np.array([True, True, False, False, False])
    responses = as_responses(list("abcde"), np.zeros((2, 5)))
    history = History(taken, np.full(5, np.nan), x)
    chosen = ACQUISITIONS["core_set"].fn(responses, 1, np.random.default_rng(0), history=history)
    assert chosen.tolist() == [2]


def test_batch_bald_avoids_what_it_knows_already():
    a, b = np.array([3.0, -3, 3, -3]), np.array([1.0, 1, -1, -1])
    values = np.stack([a, a * 1.01, b], 1)  # the first two say the same
    responses = as_responses(list("xyz"), values)
    history = History(np.zeros(3, bool), np.full(3, np.nan), noise=0.01)
    chosen = ACQUISITIONS["batch_bald"].fn(responses, 2, np.random.default_rng(0), history=history)
    assert chosen.tolist() == [1, 2]


def test_a_mixture_takes_four_in_five_by_mean_and_the_rest_from_the_whole_pool():
    responses, history, _ = planted()
    mean = responses.values[:, :, 0].mean(0)
    chosen = ACQUISITIONS["mixture"].fn(responses, 50, np.random.default_rng(0), history=history)
    free = np.flatnonzero(~history.taken)
    best = set(free[np.argsort(-mean[free])][:40].tolist())
    assert set(chosen[:40].tolist()) == best
    assert np.median(mean[chosen[40:]]) < np.median(mean[chosen[:40]])
