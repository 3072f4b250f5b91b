"""GEARS' simulation, PerturBench's covariate transfer, and how much of a test was seen."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.core.condition import Condition, condition_table, conditions_of
from perturbkit.core.errors import ConfigError, LeakError, SchemaError, UnknownNameError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.splits import Split, SplitConfig, check_leakage, make_split, subgroups

GENES = [f"G{i:02d}" for i in range(40)]
PAIRS = [(GENES[i], GENES[i - k]) for i in range(40) for k in (1, 3, 8)]
SCREEN = condition_table(
    [Condition(), *(Condition((g,)) for g in GENES), *(Condition(p) for p in PAIRS)]
)
CONTEXTS = ["A", "B", "C", "D"]
TRANSFER = condition_table([Condition(context=c) for c in CONTEXTS]
                           + [Condition((g,), c) for c in CONTEXTS for g in GENES])  # fmt: skip


def labelled(conditions: pl.DataFrame, config: SplitConfig, seed: int = 0):
    split = make_split(conditions, config, np.random.default_rng(seed))
    fold_of = dict(zip(split.keys, split.folds, strict=True))
    rows = zip(conditions_of(conditions), subgroups(conditions, split), strict=True)
    return split, [(c, fold_of[c.key], label) for c, label in rows]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), share=st.sampled_from([0.5, 0.75, 0.9]))
def test_the_simulation_holds_out_genes_and_each_subgroup_is_what_it_says(seed, share):
    config = SplitConfig(kind="gears_simulation", train_gene_share=share)
    _, rows = labelled(SCREEN, config, seed)
    singles = {c.targets[0]: fold for c, fold, _ in rows if len(c.targets) == 1}
    held = {g for g, fold in singles.items() if fold == "test"}
    assert len(held) == round((1 - share) * 40)
    for condition, fold, label in rows:
        unseen = len(set(condition.targets) & held)
        if unseen:  # no leak: a combination with an unseen gene is never trained on
            assert fold == "test"
        if fold == "train":
            assert not unseen
        if len(condition.targets) == 2 and fold == "test":
            assert label == f"combo_seen{2 - unseen}"
        if len(condition.targets) == 1 and fold == "test":
            assert label == "unseen_single"
    assert {c.is_control for c, _, label in rows if label == "control"} == {True}


def test_the_simulation_tests_a_quarter_of_the_seen_combinations_and_validates_likewise():
    _, rows = labelled(SCREEN, SplitConfig(kind="gears_simulation"))
    counts = Counter(label for _, _, label in rows)
    assert counts["unseen_single"] == 10
    assert min(counts["combo_seen0"], counts["combo_seen1"], counts["combo_seen2"]) >= 3
    validated = {c.targets[0] for c, fold, _ in rows if fold == "val" and len(c.targets) == 1}
    assert len(validated) == 3
    for condition, fold, _ in rows:
        assert fold != "train" or not set(condition.targets) & validated


def test_a_combination_with_an_unseen_gene_moved_to_train_is_a_leak():
    split, rows = labelled(SCREEN, SplitConfig(kind="gears_simulation"))
    moved = next(c.key for c, _, label in rows if label == "combo_seen1")
    folds = ["train" if k == moved else f for k, f in zip(split.keys, split.folds, strict=True)]
    with pytest.raises(LeakError, match="also in train"):
        check_leakage(SCREEN, Split(split.keys, tuple(folds)), "gears_simulation")


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    least=st.integers(1, 3),
    most=st.sampled_from([0.1, 0.3, 0.7]),
    ragged=st.integers(0, 60),
)
def test_transfer_keeps_both_limits(seed, least, most, ragged):
    conditions = TRANSFER.sample(TRANSFER.height - ragged, seed=seed)
    config = SplitConfig(
        kind="covariate_transfer", min_train_covariates=least, max_heldout_fraction=most
    )
    _, rows = labelled(conditions, config, seed)
    perturbed = [(c.perturbation, c.context, fold) for c, fold, _ in rows if not c.is_control]
    trained = Counter(p for p, _, fold in perturbed if fold == "train")
    for context in CONTEXTS:
        here = [fold for _, c, fold in perturbed if c == context]
        assert here.count("test") <= most * len(here)
    for name, _, fold in perturbed:
        assert fold == "train" or trained[name] >= least


def test_transfer_fills_what_it_may_hold_out_and_can_be_narrowed():
    _, rows = labelled(TRANSFER, SplitConfig(kind="covariate_transfer"))
    assert Counter(c.context for c, f, _ in rows if f == "test") == dict.fromkeys(CONTEXTS, 12)
    _, rows = labelled(TRANSFER, SplitConfig(kind="covariate_transfer", contexts=("B",)))
    assert {c.context for c, f, _ in rows if f in ("test", "val")} == {"B"}


def test_a_cross_validation_of_transfer_tests_each_pair_once_and_keeps_the_first_limit():
    tested: list[str] = []
    for fold in range(2):
        config = SplitConfig(
            kind="covariate_transfer", folds=2, fold=fold, min_train_covariates=2, val=0.0
        )
        _, rows = labelled(TRANSFER, config)
        tested += [c.key for c, f, _ in rows if f == "test"]
        trained = Counter(c.perturbation for c, f, _ in rows if f == "train")
        assert all(trained[g] == 2 for g in GENES)
    assert len(tested) == len(set(tested)) == 160


@pytest.mark.parametrize(
    ("table", "config", "error", "match"),
    [
        (TRANSFER, {"kind": "covariate_transfer", "min_train_covariates": 4}, SchemaError,
         "lower min_train_covariates"),
        (SCREEN, {"kind": "covariate_transfer"}, SchemaError, "found 0 perturbation"),
        (TRANSFER, {"kind": "covariate_transfer", "contexts": ("Z",)}, UnknownNameError, "'Z'"),
        (TRANSFER, {"kind": "covariate_transfer", "fraction": 0.5}, ConfigError,
         "does not use fraction"),
        (SCREEN, {"kind": "gears_simulation", "file": "x.toml"}, ConfigError, "use cell_load"),
        (SCREEN, {"kind": "unseen_perturbation", "train_gene_share": 0.5}, ConfigError,
         "use gears_simulation"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_or_is_not_read_is_refused(table, config, error, match):
    with pytest.raises(error, match=match):
        make_split(table, SplitConfig(**config), np.random.default_rng(0))


def test_subgroups_stratify_scores_and_know_their_split():
    from perturbkit.metrics.score import score

    split, _ = labelled(SCREEN, SplitConfig(kind="gears_simulation"))
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, SCREEN.height, 8)).astype(np.float32)
    labels = pl.Series("subgroup", subgroups(SCREEN, split))
    everything = Responses(values, SCREEN.with_columns(labels), Vocabulary(list("abcdefgh")),
                           "zscore")  # fmt: skip
    truth = everything.select(split.rows(everything, "test"))
    scores = score(truth, {"itself": truth}, train=None, rng=rng, metrics=("mae",), n_bootstrap=100)
    table = scores.by("subgroup")
    kinds = ["combo_seen0", "combo_seen1", "combo_seen2", "unseen_single"]
    assert sorted(table["subgroup"].unique()) == kinds
    with pytest.raises(UnknownNameError, match="condition of the split"):
        subgroups(SCREEN, Split(split.keys[:-1], split.folds[:-1]))
