"""cell-load's TOML files are read as they are, and their mistakes are named."""

import numpy as np
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import ConfigError, LeakError, SchemaError, UnknownNameError
from perturbkit.data.splits import Split, SplitConfig, check_leakage, make_split
from perturbkit.data.splits.cell_load import read_cell_load

TABLE = condition_table(
    [Condition(context=c) for c in ("H1", "K562", "Jurkat")]
    + [Condition((g,), c) for c in ("H1", "K562", "Jurkat") for g in "ABCD"]
)
TOML = """
[datasets]
rep = "/data/replogle"

[training]
rep = "train"

[zeroshot]
"rep.Jurkat" = "test"
"other.HeLa" = "test"

[fewshot."rep.k562"]
val = ["A"]
test = ["B", "c", "non-targeting"]
"""


def test_contexts_and_perturbations_are_held_out(tmp_path):
    (tmp_path / "split.toml").write_text(TOML)
    split = read_cell_load(tmp_path / "split.toml", TABLE)
    folds = dict(zip(split.keys, split.folds, strict=True))
    test = {k for k, f in folds.items() if f == "test"}
    assert test == {f"{g} | Jurkat" for g in "ABCD"} | {"B | K562", "C | K562"}
    assert {k for k, f in folds.items() if f == "val"} == {"A | K562"}
    assert folds["control | Jurkat"] == folds["control | K562"] == "train"
    check_leakage(TABLE.filter(TABLE["context"] != "K562"), split, "unseen_context")


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        ("[zeroshot]", "[zeroshoot]", ConfigError, "did you mean 'zeroshot'"),
        ("rep.Jurkat", "rep.Jurkt", ConfigError, "did you mean 'Jurkat'"),
        ('"c",', '"Z",', UnknownNameError, "perturbation of K562"),
        ('"rep.Jurkat" = "test"', '"rep.Jurkat" = "tset"', ConfigError, "did you mean 'test'"),
        ("val = [", "vale = [", ConfigError, "did you mean 'val'"),
        ('rep = "/data', 'a = "x"\nrep = "/data', ConfigError, "names 2 data sets"),
        ('[fewshot."rep.k562"]', '[fewshot."b.k562"]', None, ""),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, error, match):
    (tmp_path / "split.toml").write_text(TOML.replace(old, new))
    if error is None:
        read_cell_load(tmp_path / "split.toml", TABLE)
        return
    with pytest.raises(error, match=match):
        read_cell_load(tmp_path / "split.toml", TABLE)


def test_nothing_held_out_is_refused(tmp_path):
    (tmp_path / "split.toml").write_text('[datasets]\nrep = "x"\n')
    with pytest.raises(SchemaError, match="tests 0"):
        read_cell_load(tmp_path / "split.toml", TABLE)
    (tmp_path / "split.toml").write_text(TOML)
    with pytest.raises(UnknownNameError, match="data set"):
        read_cell_load(tmp_path / "split.toml", TABLE, "tahoe")


def test_the_file_is_a_split_like_any_other(tmp_path):
    (tmp_path / "split.toml").write_text(TOML)
    config = SplitConfig(kind="cell_load", file=str(tmp_path / "split.toml"))
    made, read = (
        make_split(TABLE, config, np.random.default_rng(0)),
        read_cell_load(config.file, TABLE),
    )
    assert dict(zip(made.keys, made.folds, strict=True)) == dict(
        zip(read.keys, read.folds, strict=True)
    )
    for change, match in (
        ({"file": ""}, "split.file is empty"),
        ({"folds": 2}, "folds is set"),
        ({"fraction": 0.5}, "does not use fraction"),
    ):
        with pytest.raises(ConfigError, match=match):
            make_split(TABLE, config.replace(**change), np.random.default_rng(0))
    with pytest.raises(UnknownNameError, match="data set"):
        make_split(TABLE, config.replace(dataset="tahoe"), np.random.default_rng(0))


def test_a_pair_in_two_folds_of_a_file_is_a_leak():
    table = condition_table([Condition(), Condition(("A",), dose_um=1.0), Condition(("A",))])
    keys = ("control | default", "A@1uM | default", "A | default")
    with pytest.raises(LeakError, match="same pair"):
        check_leakage(table, Split(keys, ("train", "test", "train")), "cell_load")
    check_leakage(table, Split(keys, ("train", "test", "dropped")), "cell_load")
