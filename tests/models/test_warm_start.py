"""Embeddings start where the leading factors of the training set are."""

import numpy as np
import torch

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.warm_start import Factors, warm_factors


def test_factors_rebuild_a_table_of_low_rank(rng: np.random.Generator) -> None:
    table = rng.normal(size=(20, 3)) @ rng.normal(size=(3, 30))
    factors = Factors.of(table, 10, rng)
    assert factors.left_af.shape == (20, 3)
    size = np.linalg.norm(table.astype(np.float64), 2) / np.sqrt(table.size)
    np.testing.assert_allclose(factors.left_af @ factors.right_fg * size, table, atol=1e-4)
    np.testing.assert_allclose(np.mean(factors.left_af[:, 0] ** 2), 1, rtol=1e-5)


def test_targets_and_contexts_get_their_factors_and_gaps_count_for_nothing(rng) -> None:
    z_p, z_g = rng.normal(size=(6, 2)), rng.normal(size=(2, 40))
    mean = rng.normal(size=(2, 40))
    conditions, values = [], []
    for k, context in enumerate("xy"):
        conditions.append(Condition(context=context))
        values.append(np.full(40, np.nan))
        for p in range(6):
            conditions.append(Condition((f"T{p}",), context))
            values.append(mean[k] + (z_p - z_p.mean(0))[p] @ z_g)
    values_cg = np.array(values, np.float32)
    values_cg[1, :5] = np.nan
    names = Vocabulary(["other", *(f"T{p}" for p in range(6))], "target")
    found = warm_factors(condition_table(conditions), values_cg, names, rng)
    assert found.seen.tolist() == [1, 2, 3, 4, 5, 6]
    identity, readout, context = torch.zeros(7, 8), torch.zeros(40, 8), torch.zeros(2, 8)
    n = found.put(identity, readout, 3, 0.5)
    assert not identity[0].any()
    got = (identity[1:, :n] @ readout[:, :n].T).numpy()
    want = (z_p - z_p.mean(0)) @ z_g
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.97
    found.put_contexts(context, readout, n, 0.5)
    assert context[:, n : n + 2].any()
    assert not context[:, n + 2 :].any()


def test_nothing_to_learn_leaves_the_embeddings_as_they_are(rng) -> None:
    table = condition_table([Condition(("A",), "x"), Condition(("B",), "x")])
    found = warm_factors(table, np.zeros((2, 5), np.float32), Vocabulary(["A", "B"], "t"), rng)
    assert found.put(torch.ones(2, 4), torch.ones(5, 4), 2, 1.0) == 0
