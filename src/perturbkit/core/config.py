"""Settings: frozen, strict pydantic models; TOML in, JSON on disk, errors that name the path."""

import json
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from perturbkit.core.errors import ConfigError, FileError, unknown_name
from perturbkit.core.files import existing

MAX_BYTES = 1_000_000
"""A larger settings file is a mistake or an attack."""


class Config(BaseModel):
    """The base of all settings: immutable, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any], where: str = "") -> Self:
        """Build from plain values (of TOML or JSON), lists standing for tuples.

        Args:
            values: the settings.
            where: what to put before each path in an error: a file name, or a path that ends
                in a dot, such as `model.`.

        Raises:
            ConfigError: unknown keys, wrong types, values out of range; all in one message.
        """
        try:
            return cls.model_validate_json(json.dumps(values, allow_nan=False))
        except ValidationError as error:
            raise ConfigError(explain(error, cls, where)) from error
        except (TypeError, ValueError) as error:
            message = f"{where or 'settings'}: {error}; settings hold text, numbers and lists only"
            raise ConfigError(message) from error

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self).parse(self.plain() | changes)

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return self.model_dump(mode="json")


_EXPECTED = {
    "int_type": "int", "int_parsing": "int", "int_from_float": "int", "float_type": "float",
    "float_parsing": "float", "string_type": "text", "bool_type": "true or false",
    "bool_parsing": "true or false", "list_type": "a list", "tuple_type": "a list",
    "dict_type": "a table", "model_type": "a table", "model_attributes_type": "a table",
}  # fmt: skip


def explain(error: ValidationError, config: type[BaseModel], where: str = "") -> str:
    """Say in one line per fault what was found at which path and what is needed."""
    lines = []
    prefix = where if where.endswith(".") else ""
    for fault in error.errors():
        path = prefix + ".".join(str(part) for part in fault["loc"]) or "settings"
        if fault["type"] == "extra_forbidden":
            lines.append(_unknown_key(config, fault["loc"], path))
        elif fault["type"] in _EXPECTED:
            lines.append(f"{path}: expected {_EXPECTED[fault['type']]}, got {fault['input']!r}")
        elif fault["type"] == "missing":
            lines.append(f"{path}: is required and missing")
        else:
            text = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
            lines.append(f"{path}: {text}, got {_short(fault['input'])}")
    head = f"{where}: " if where and not prefix else ""
    return head + "; ".join(lines)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unknown_key(config: type[BaseModel], location: tuple[Any, ...], path: str) -> str:
    """Name the closest known key at the place of an unknown one."""
    fields = config.model_fields
    for part in location[:-1]:
        field = fields.get(part) if isinstance(part, str) else None
        inner = getattr(field, "annotation", None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            fields = inner.model_fields
    return f"{path}: {unknown_name('setting', str(location[-1]), fields)}"


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises:
        FileError: missing, too large, or not UTF-8.
        ConfigError: not TOML, with the line.
    """
    file = existing(path, "settings file")
    if file.stat().st_size > MAX_BYTES:
        message = f"{file} has {file.stat().st_size:,} bytes; settings have at most {MAX_BYTES:,}"
        raise FileError(message)
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        message = f"{file} is not UTF-8 text; settings are written in TOML"
        raise FileError(message) from error
    except tomllib.TOMLDecodeError as error:
        message = f"{file} is not valid TOML: {error}"
        raise ConfigError(message) from error


def set_value(values: dict[str, Any], assignment: str) -> None:
    """Apply one `path.to.key=value` to plain settings in place; the value is read as TOML.

    A value that is not TOML stands for itself, so `model.kind=lpm` needs no quotes.

    Raises:
        ConfigError: no `=`, or a path through something that is not a table.
    """
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        message = f"cannot read {assignment!r}; write --set path.to.key=value"
        raise ConfigError(message)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            message = f"{path.strip()}: {key!r} is a value, not a table; remove what follows it"
            raise ConfigError(message)
    table[keys[-1]] = value


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on top, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged
