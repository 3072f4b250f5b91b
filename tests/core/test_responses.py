"""Responses align by name, know their control, survive a round trip and refuse nonsense."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import FileError, SchemaError, UnknownNameError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary

GENES = Vocabulary(["g", "h", "i"], "readout")
NAMES = [("control", "x"), ("A", "x"), ("B+A", "x"), ("control", "y"), ("A", "y")]


@pytest.fixture
def responses(rng: np.random.Generator) -> Responses:
    table = condition_table(Condition.parse(n, context=c) for n, c in NAMES)
    values = rng.random((2, 5, 3))
    return Responses(values, table, GENES, "log1p_cp10k", halves=rng.random((2, 5, 3), np.float32))


def test_delta_starts_from_the_control_of_the_own_context(responses: Responses) -> None:
    delta = responses.delta_cg()
    mean = responses.mean_cg
    np.testing.assert_allclose(delta[1], mean[1] - mean[0])
    np.testing.assert_allclose(delta[4], mean[4] - mean[3])
    assert not delta[0].any()


def test_relative_units_have_a_zero_control(responses: Responses) -> None:
    ranks = Responses(responses.values, responses.conditions, GENES, "signed_rank")
    np.testing.assert_array_equal(ranks.delta_cg(), ranks.mean_cg)


def test_a_missing_control_is_named(responses: Responses) -> None:
    with pytest.raises(SchemaError, match="context 'y' has no control"):
        responses.select([0, 1, 4]).delta_cg()


def test_selection_by_key_follows_the_order_asked_for(responses: Responses) -> None:
    some = responses.at(["A | y", "A+B | x"])
    assert some.keys == ["A | y", "A+B | x"]
    np.testing.assert_array_equal(some.mean_cg, responses.mean_cg[[4, 2]])
    np.testing.assert_array_equal(some.halves[0], responses.halves[0][[4, 2]])
    with pytest.raises(UnknownNameError, match=r"did you mean 'A \| y' or 'A \| x'"):
        responses.at(["A | z"])


def test_readouts_align_by_name(responses: Responses) -> None:
    turned = responses.with_readouts(Vocabulary(["i", "g"], "readout"))
    np.testing.assert_array_equal(turned.mean_cg, responses.mean_cg[:, [2, 0]])
    with pytest.raises(UnknownNameError):
        responses.with_readouts(Vocabulary(["z"], "readout"))


def test_save_and_load(responses: Responses, tmp_path: Path) -> None:
    responses.save(tmp_path / "r.parquet")
    loaded = Responses.load(tmp_path / "r.parquet")
    np.testing.assert_array_equal(loaded.values, responses.values)
    np.testing.assert_array_equal(loaded.halves, responses.halves)
    assert loaded.keys == responses.keys
    assert loaded.unit == responses.unit
    assert loaded.conditions.equals(responses.conditions)


def test_damaged_files_are_one_clear_error(responses: Responses, tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    responses.save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match="not a whole file"):
        Responses.load(path)
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(FileError, match="not a whole file"):
        Responses.load(path)


def test_stack_keeps_the_weakest_status(responses: Responses) -> None:
    first = responses.select([1, 2])
    weak = Responses(
        first.values, first.conditions.with_columns(status=pl.Series(["seen", "refused"])),
        GENES, first.unit,
    )  # fmt: skip
    both = Responses.stack([first, weak])
    assert both.values.shape == (4, 2, 3)
    assert both.conditions["status"].to_list() == ["seen", "refused"]
    with pytest.raises(SchemaError, match="members differ"):
        Responses.stack([first, responses])


def test_shapes_and_names_are_checked(responses: Responses) -> None:
    table = responses.conditions
    with pytest.raises(SchemaError, match=r"need \(members, 5, 3\)"):
        Responses(np.zeros((1, 4, 3)), table, GENES, "zscore")
    with pytest.raises(SchemaError, match="occurs more than once"):
        Responses(np.zeros((1, 2, 3)), table[[1, 1]], GENES, "zscore")
    with pytest.raises(SchemaError, match="status 'good' is not one of"):
        Responses(responses.values, table.with_columns(status=pl.lit("good")), GENES, "zscore")
