"""Settings are strict, frozen, survive JSON and TOML, and errors name the path."""

import json
from pathlib import Path

import pytest

from perturbkit.core.config import Config, merge, read_toml, set_value
from perturbkit.core.errors import ConfigError, FileError


class Model(Config):
    width: int = 3
    rates: tuple[float, ...] = (0.1,)


class Study(Config):
    name: str = "a"
    model: Model = Model()


def test_json_round_trip() -> None:
    study = Study.parse({"model": {"width": 5, "rates": [0.1, 0.2]}})
    assert Study.parse(json.loads(json.dumps(study.plain()))) == study
    assert study.model.rates == (0.1, 0.2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"width": "x"}}, "model.width: expected int, got 'x'"),
        ({"model": {"width": True}}, "model.width: expected int, got True"),
        ({"model": {"width": 1.5}}, "model.width: expected int, got 1.5"),
        ({"model": {"widht": 3}}, "model.widht: no setting named 'widht'; did you mean 'width'?"),
        ({"modle": {}}, "modle: no setting named 'modle'; did you mean 'model'?"),
        ({"model": 3}, "model: expected a table, got 3"),
        ({"name": ["x"]}, "name: expected text"),
    ],
)
def test_errors_name_the_path(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Study.parse(values)
    assert message in str(error.value)


def test_settings_cannot_be_changed() -> None:
    study = Study()
    with pytest.raises(ValueError, match="frozen"):
        study.name = "b"  # type: ignore[misc]
    assert study.replace(name="b").name == "b"


def test_assignments() -> None:
    values: dict = {"model": {"width": 3}}
    for text in ("model.width=256", "model.rates=[0.5]", "name=papalexi"):
        set_value(values, text)
    assert values == {"model": {"width": 256, "rates": [0.5]}, "name": "papalexi"}
    with pytest.raises(ConfigError, match=r"write --set path\.to\.key=value"):
        set_value(values, "model.width")
    with pytest.raises(ConfigError, match="'width' is a value, not a table"):
        set_value(values, "model.width.x=1")


def test_merge_goes_table_by_table() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "d": {"e": 1}}) == {
        "a": {"b": 9, "c": 2},
        "d": {"e": 1},
    }


def test_toml_faults(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no settings file at"):
        read_toml(tmp_path / "absent.toml")
    path = tmp_path / "bad.toml"
    path.write_text("width = = 3")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="is not UTF-8"):
        read_toml(path)
    path.write_text("#" * 1_000_001)
    with pytest.raises(FileError, match="settings have at most"):
        read_toml(path)
