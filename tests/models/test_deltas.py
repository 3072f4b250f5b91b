import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.deltas import Effects, nan_mean

NAN = np.nan


def responses(rows: list[tuple], values: list[list[float]], unit: str = "log1p_cp10k"):
    table = pl.DataFrame(rows, schema=["perturbation", "context", "dose_um"], orient="row")
    table = table.with_columns(pl.col("dose_um").cast(pl.Float64))
    names = Vocabulary([f"r{i}" for i in range(len(values[0]))], "readout")
    return Responses(np.array([values], np.float32), table, names, unit)


@pytest.fixture
def train() -> Responses:
    rows = [
        ("control", "x", None), ("A", "x", 1), ("A", "x", 10), ("B", "x", None),
        ("control", "y", None), ("A", "y", None), ("control", "z", None),
    ]  # fmt: skip
    values = [[1, 2, 3], [2, 2, 3], [4, NAN, 3], [1, 4, NAN], [5, 5, NAN], [6, 5, 1], [7, 7, 7]]
    return responses(rows, values)


def test_doses_are_averaged_and_rows_sorted(train: Responses) -> None:
    effects = Effects.of(train)
    assert list(effects.frame.perturbations) == ["A", "B"]
    assert list(effects.frame.contexts) == ["x", "y", "z"]
    np.testing.assert_array_equal(effects.context_r, [0, 0, 1])
    np.testing.assert_array_equal(effects.perturbation_r, [0, 1, 0])
    np.testing.assert_array_equal(effects.delta_rg, [[2, 0, 0], [0, 2, NAN], [1, 0, NAN]])


def test_means_by_hand_and_filled_from_other_contexts(train: Responses) -> None:
    frame = Effects.of(train).frame
    np.testing.assert_array_equal(frame.mean_kg[:2], [[1, 1, 0], [1, 0, 0]])  # y's third: from x
    np.testing.assert_array_equal(frame.mean_kg[2], [1, 0.5, 0])
    np.testing.assert_array_equal(frame.trained_k, [True, True, False])


def test_shared_divides_by_what_was_measured_plus_shrinkage(train: Responses) -> None:
    effects = Effects.of(train)
    np.testing.assert_array_equal(effects.deviation_rg, [[1, -1, 0], [-1, 1, 0], [0, 0, 0]])
    shared = effects.shared([1, 0], shrinkage=1.0)
    np.testing.assert_allclose(shared, [[-0.5, 0.5, 0], [1 / 3, -1 / 3, 0]], rtol=1e-6)


def test_parts_prefer_the_whole_or_the_targets() -> None:
    rows = [("control", "x", None), ("A", "x", None), ("A+B", "x", None), ("C+D", "x", None)]
    frame = Effects.of(responses(rows, [[0.0], [1.0], [2.0], [3.0]])).frame
    table = pl.DataFrame({"perturbation": ["A+B", "B+A", "A+E", "C+D", "E"], "context": ["x"] * 5})
    asked = frame.ask(table.head(1).vstack(table[2:]))
    names = list(frame.perturbations)
    assert names == ["A", "A+B", "C+D"]
    whole, missing = asked.parts(whole=True)
    np.testing.assert_array_equal(whole.toarray(), [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(missing, [0, 1, 0, 1])
    parts, missing = asked.parts(whole=False)
    np.testing.assert_array_equal(parts.toarray(), [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(missing, [1, 1, 0, 1])


def test_scores_without_any_control_count_from_zero() -> None:
    one = responses([("A", "x", None), ("B", "x", None)], [[2.0], [4.0]], "score")
    effects = Effects.of(one)
    np.testing.assert_array_equal(effects.delta_rg, [[2], [4]])


def test_a_context_without_its_control_is_refused_at_the_door() -> None:
    with pytest.raises(SchemaError, match="'y' has no control"):
        Effects.of(
            responses([("control", "x", None), ("A", "x", None), ("A", "y", None)], [[0.0]] * 3)
        )


def test_nan_mean_has_no_warning_and_no_zero_for_nothing() -> None:
    np.testing.assert_array_equal(nan_mean(np.array([[1, NAN], [3, NAN]])), [2, NAN])
