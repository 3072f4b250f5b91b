"""Splits keep their promise on any table of conditions, and leaks made by hand are caught."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import (
    ConfigError,
    FileError,
    LeakError,
    SchemaError,
    UnknownNameError,
)
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.splits import SPLITS, Split, SplitConfig, check_leakage, make_split

GENES = [f"G{i}" for i in range(12)]
CONTEXTS = ["A", "B", "C"]
KINDS = [kind for kind in SPLITS if kind != "cell_load"]  # that one draws nothing


def table(singles=GENES, doubles=(), contexts=CONTEXTS, doses=(None,)) -> pl.DataFrame:
    """Every single at every dose and every double, and the control, in every context."""
    rows = [Condition(context=c) for c in contexts]
    rows += [Condition((g,), c, dose_um=d) for c in contexts for g in singles for d in doses]
    rows += [Condition(pair, c) for c in contexts for pair in doubles]
    return condition_table(rows)


DOUBLES = [(GENES[i], GENES[j]) for i in range(6) for j in range(i)]


def fold_of(split: Split) -> dict[str, str]:
    return dict(zip(split.keys, split.folds, strict=True))


def by_fold(conditions: pl.DataFrame, split: Split) -> dict[str, list[Condition]]:
    from perturbkit.core.condition import conditions_of

    folds = fold_of(split)
    out: dict[str, list[Condition]] = {"train": [], "val": [], "test": [], "dropped": []}
    for condition in conditions_of(conditions):
        out[folds[condition.key]].append(condition)
    return out


@st.composite
def tables(draw) -> pl.DataFrame:
    """Ragged screens: any singles and doubles in any contexts, at any doses."""
    contexts = draw(st.lists(st.sampled_from([*CONTEXTS, "D"]), min_size=1, unique=True))
    name = st.sampled_from([*GENES[:8], "g1", "g2 "])
    targets = st.one_of(st.tuples(name), st.tuples(name, name))
    rows = draw(
        st.lists(
            st.tuples(targets, st.sampled_from(contexts), st.sampled_from([None, 1.0, 10.0])),
            min_size=1,
            max_size=40,
        )
    )
    conditions = [Condition(context=c) for c in contexts]
    conditions += [Condition(t, c, dose_um=d) for t, c, d in rows]
    return condition_table(conditions)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(conditions=tables(), seed=st.integers(0, 3), folds=st.sampled_from([None, 2, 3]))
def test_any_table_is_split_without_a_leak_or_refused_in_words(kind, conditions, seed, folds):
    config = SplitConfig(kind=kind, folds=folds)
    try:
        split = make_split(conditions, config, np.random.default_rng(seed))
    except SchemaError:  # too little data; any other error fails the test
        return
    parts = by_fold(conditions, split)
    assert parts["test"]
    assert not any(c.is_control for name in ("val", "test", "dropped") for c in parts[name])
    names = [{t.strip().casefold() for t in c.targets} for c in parts["train"]]
    trained = set().union(*names)
    for condition in parts["test"]:
        targets = {t.strip().casefold() for t in condition.targets}
        if kind == "unseen_perturbation":
            assert not targets <= trained
        elif kind == "unseen_combination":
            assert len(targets) > 1
            assert targets not in names
        elif kind == "unseen_context":
            seen = {c.context for c in parts["train"] if not c.is_control}
            assert condition.context not in seen
        elif kind == "gears_simulation":
            assert len(targets) > 1 or not targets & trained
            assert targets not in names
        else:
            here = [n for n, c in zip(names, parts["train"], strict=True)
                    if c.context == condition.context]  # fmt: skip
            assert targets not in here
            assert targets in names


@pytest.mark.parametrize("kind", KINDS)
def test_folds_partition_what_can_be_held_out(kind):
    conditions = table(doubles=DOUBLES)
    tested: list[str] = []
    for fold in range(3):
        config = SplitConfig(kind=kind, folds=3, fold=fold)
        split = make_split(conditions, config, np.random.default_rng(7))
        tested += [k for k, f in fold_of(split).items() if f == "test"]
        assert split.counts()["val"] > 0
    expected = {
        "unseen_combination": 3 * len(DOUBLES),
        "unseen_context": 3 * (12 + len(DOUBLES)),
        "unseen_pair": 3 * (12 + len(DOUBLES)),
        "covariate_transfer": 3 * (12 + len(DOUBLES)),
    }
    if kind in expected:
        assert len(tested) == len(set(tested)) == expected[kind]
    else:  # a double is tested with each of its two targets
        singles = [k for k in tested if "+" not in k]
        assert len(singles) == len(set(singles)) == 36
        assert {k for k in tested if "+" in k} == {k for k in split.keys if "+" in k}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_splits_whatever_the_order_of_rows(kind):
    conditions, config = table(doubles=DOUBLES), SplitConfig(kind=kind)
    first = make_split(conditions, config, np.random.default_rng(3))
    shuffled = conditions.sample(fraction=1.0, shuffle=True, seed=5)
    assert fold_of(make_split(shuffled, config, np.random.default_rng(3))) == fold_of(first)
    others = [fold_of(make_split(conditions, config, np.random.default_rng(s))) for s in range(9)]
    assert any(other != fold_of(first) for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_a_held_out_condition_moved_into_train_is_a_leak(kind):
    conditions = table(doubles=DOUBLES, doses=(None, 1.0))
    split = make_split(conditions, SplitConfig(kind=kind), np.random.default_rng(0))
    check_leakage(conditions, split, kind)
    held = [i for i, f in enumerate(split.folds) if f == "test"]
    siblings = {"unseen_combination": "+", "unseen_context": ""}.get(kind, "@1uM")
    moved = next(i for i in held if siblings in split.keys[i])
    folds = tuple("train" if i == moved else f for i, f in enumerate(split.folds))
    with pytest.raises(LeakError, match="move one side"):
        check_leakage(conditions, Split(split.keys, folds), kind)
    dropped = tuple("dropped" if i == moved else f for i, f in enumerate(split.folds))
    check_leakage(conditions, Split(split.keys, dropped), kind)


def test_a_control_outside_train_is_a_leak():
    conditions = table()
    split = make_split(conditions, SplitConfig(), np.random.default_rng(0))
    at = split.keys.index("control | B")
    folds = tuple("test" if i == at else f for i, f in enumerate(split.folds))
    with pytest.raises(LeakError, match="control"):
        check_leakage(conditions, Split(split.keys, folds), "unseen_pair")


def test_the_same_target_in_other_case_or_in_a_combination_is_a_leak():
    conditions = condition_table(
        [Condition(), Condition(("JQ1",)), Condition(("jq1",), dose_um=1.0), Condition(("X",))]
    )
    keys = ("control | default", "JQ1 | default", "jq1@1uM | default", "X | default")
    with pytest.raises(LeakError, match="JQ1"):
        check_leakage(conditions, Split(keys, ("train", "test", "train", "train")),
                      "unseen_perturbation")  # fmt: skip
    conditions = condition_table([Condition(("A",)), Condition(("A", "B")), Condition(("B",))])
    keys = ("A | default", "A+B | default", "B | default")
    with pytest.raises(LeakError):
        check_leakage(conditions, Split(keys, ("test", "train", "train")), "unseen_perturbation")


def test_a_pair_is_held_out_in_the_contexts_asked_for_only():
    config = SplitConfig(kind="unseen_pair", contexts=("B",), fraction=0.5)
    parts = by_fold(table(), make_split(table(), config, np.random.default_rng(0)))
    assert len(parts["test"]) == 6
    assert {c.context for c in parts["test"] + parts["val"]} == {"B"}
    config = SplitConfig(kind="unseen_context", contexts=("B",))
    parts = by_fold(table(), make_split(table(), config, np.random.default_rng(0)))
    assert {c.context for c in parts["test"]} == {"B"}
    assert len(parts["test"]) == 12
    assert Condition(context="B") in parts["train"]


def test_combinations_of_unmeasured_singles_are_tested_only_when_asked():
    conditions = table(singles=GENES[:4], doubles=DOUBLES)
    config = SplitConfig(kind="unseen_combination", fraction=0.9)
    parts = by_fold(conditions, make_split(conditions, config, np.random.default_rng(0)))
    assert all(set(c.targets) <= set(GENES[:4]) for c in parts["test"])
    config = SplitConfig(kind="unseen_combination", fraction=0.9, seen_singles=False)
    parts = by_fold(conditions, make_split(conditions, config, np.random.default_rng(0)))
    assert any(not set(c.targets) <= set(GENES[:4]) for c in parts["test"])


@pytest.mark.parametrize(
    ("conditions", "config", "error", "match"),
    [
        (table(contexts=["A"]), SplitConfig(kind="unseen_pair"), SchemaError, "at least 2"),
        (table(contexts=["A"]), SplitConfig(kind="unseen_context"), SchemaError, "at least 2"),
        (table(), SplitConfig(kind="unseen_combination"), SchemaError, "at least 3"),
        (table(singles=GENES[:2]), SplitConfig(kind="unseen_perturbation"), SchemaError,
         "at least 3"),
        (table(), SplitConfig(kind="unseen_perturbation", folds=13), SchemaError, "at least 13"),
        (table(), SplitConfig(kind="unseen_pair", folds=3, fold=3), ConfigError, "numbered from"),
        (table(), SplitConfig(kind="unseen_pair", contexts=("Z",)), UnknownNameError, "'Z'"),
        (table(), SplitConfig(kind="unseen_perturbation", contexts=("A",)), ConfigError,
         "does not use"),
        (table(), SplitConfig(kind="unseen_pear"), UnknownNameError, "unseen_pair"),
        (table(), SplitConfig(kind="unseen_context", contexts=("A", "B", "C")), SchemaError,
         "leave at least one"),
        (table(), SplitConfig(kind="unseen_context", contexts=("A",), folds=2), SchemaError,
         "drop one"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_refused_with_what_is_needed(conditions, config, error, match):
    with pytest.raises(error, match=match):
        make_split(conditions, config, np.random.default_rng(0))


def test_a_split_survives_its_file_and_finds_rows_by_name(tmp_path):
    conditions = table()
    split = make_split(conditions, SplitConfig(), np.random.default_rng(0))
    split.save(tmp_path / "split.parquet")
    assert fold_of(Split.load(tmp_path / "split.parquet")) == fold_of(split)
    shuffled = conditions.reverse()
    values = np.zeros((1, shuffled.height, 2), np.float32)
    responses = Responses(values, shuffled, Vocabulary(["a", "b"]), "zscore")
    rows = split.rows(responses, "test", "val")
    folds = fold_of(split)
    assert [folds[responses.keys[i]] for i in rows].count("test") == split.counts()["test"]
    assert len(rows) == split.counts()["test"] + split.counts()["val"]
    with pytest.raises(UnknownNameError, match="train"):
        split.rows(responses, "trian")
    with pytest.raises(UnknownNameError, match="condition of the split"):
        Split(split.keys[:-1], split.folds[:-1]).rows(responses, "train")


def test_a_damaged_split_file_is_one_clear_line(tmp_path):
    path = tmp_path / "split.parquet"
    Split(("a | b",), ("train",)).save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FileError, match="whole split file"):
        Split.load(path)
    with pytest.raises(SchemaError, match="more than once"):
        Split(("a", "a"), ("train", "test"))
    with pytest.raises(UnknownNameError, match="fold"):
        Split(("a",), ("tarin",))
