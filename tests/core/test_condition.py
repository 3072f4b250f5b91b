"""The notation of conditions is order-free, reads GEARS' and survives a round trip."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.core.condition import (
    Condition,
    complete_table,
    condition_keys,
    condition_table,
    conditions_of,
)
from perturbkit.core.errors import SchemaError


@pytest.mark.parametrize(
    ("notation", "targets"),
    [
        ("control", ()),
        ("ctrl", ()),
        ("A", ("A",)),
        ("B+A", ("A", "B")),
        ("C+A+B", ("A", "B", "C")),
        ("A+ctrl", ("A",)),
        ("ctrl+A", ("A",)),
        ("A + B", ("A", "B")),
        ("(+)-JQ1", ("(+)-JQ1",)),
        (r"Na\+", ("Na+",)),
        ("A+A", ("A",)),
        ("ABT-199 (GDC-0199)", ("ABT-199 (GDC-0199)",)),
    ],
)
def test_targets(notation: str, targets: tuple[str, ...]) -> None:
    assert Condition.parse(notation).targets == targets


def test_dose_and_time() -> None:
    condition = Condition.parse("drug@500nM@2d", context="T")
    assert condition.dose_um == pytest.approx(0.5)
    assert condition.time_h == 48
    assert condition.notation == "drug@0.5uM@48h"
    assert condition.key == "drug@0.5uM@48h | T"
    assert condition.perturbation == "drug"


def test_control_of_a_condition_keeps_its_context() -> None:
    control = Condition.parse("drug@1uM", context="T").control()
    assert control.is_control
    assert control.context == "T"
    assert control.dose_um is None


@pytest.mark.parametrize("notation", ["", "A+", "+A", "A++B", "drug@1uM@2uM", "drug@1.2.3uM"])
def test_unreadable_notations_say_what_to_do(notation: str) -> None:
    with pytest.raises(SchemaError, match=r"write"):
        Condition.parse(notation)


def test_values_are_checked() -> None:
    with pytest.raises(SchemaError, match="kind 'crispr' is not one of"):
        Condition(targets=("A",), kind="crispr")
    with pytest.raises(SchemaError, match="dose_um is -1"):
        Condition(targets=("A",), dose_um=-1)


names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")),
    min_size=1,
    max_size=12,
).filter(lambda n: n not in ("ctrl", "control") and "@" not in n and n == n.strip())


@settings(max_examples=200, deadline=None)
@given(
    targets=st.lists(names, max_size=4),
    dose=st.none() | st.floats(0, 1e4).map(lambda x: float(f"{x:.4g}")),
    time=st.none() | st.integers(0, 1000).map(float),
)
def test_notation_round_trip(targets: list[str], dose: float | None, time: float | None) -> None:
    condition = Condition(targets=tuple(targets), dose_um=dose, time_h=time)
    assert Condition.parse(condition.notation) == condition


def test_table_round_trip() -> None:
    conditions = [
        Condition.parse("B+A", context="x", kind="ko"),
        Condition.parse("drug@10uM@24h", context="y", kind="drug"),
        Condition(context="x"),
    ]
    table = condition_table(conditions)
    assert conditions_of(table) == conditions
    assert condition_keys(table) == ["A+B | x", "drug@10uM@24h | y", "control | x"]


def test_incomplete_tables_are_completed_or_refused() -> None:
    table = complete_table(pl.DataFrame({"perturbation": ["A"], "extra": [1]}))
    assert table.columns == ["perturbation", "context", "kind", "dose_um", "time_h", "extra"]
    with pytest.raises(SchemaError, match="needs a column 'perturbation'"):
        complete_table(pl.DataFrame({"gene": ["A"]}))
    with pytest.raises(SchemaError, match="doses and times are numbers"):
        complete_table(pl.DataFrame({"perturbation": ["A"], "dose_um": ["high"]}))
