"""cell-load's TOML files are read as they are, and their mistakes are named."""

import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import ConfigError, SchemaError, UnknownNameError
from perturbkit.data.splits import check_leakage
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
