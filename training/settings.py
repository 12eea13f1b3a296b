"""The written form of a configuration: nested mappings and YAML, settings from the command line, differences.

Strict in every place: a key that does not exist is refused with the nearest one that does, and a value of the wrong
type with its dotted key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import yaml

from datasets.errors import InputError
from training import architectures, losses
from training.config import Config, load_plugin, nearest

_T = TypeVar("_T")


def to_mapping(config: Any) -> dict[str, Any]:
    """Nested plain mapping of a configuration; `from_mapping` is its inverse."""
    return {
        field.name: to_mapping(value)
        if dataclasses.is_dataclass(value)
        else dict(value)
        if isinstance(value, Mapping)
        else list(value)
        if isinstance(value, tuple)
        else value
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
    }


def to_yaml(config: Config) -> str:
    """Written form of a configuration."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def from_mapping(mapping: Mapping[str, Any], where: str) -> Config:
    """Check a nested mapping and build the configuration from it.

    Parameters
    ----------
    mapping : mapping
        As `to_mapping` gives it; missing keys take their defaults.
    where : str
        Where it came from, for error messages.

    Raises
    ------
    InputError
        With the dotted key, the value and what is allowed, for anything that does not fit.
    """
    base = Config()
    plugin_types = {
        "network": load_plugin(architectures, str(mapping.get("arch", base.arch)), f"{where}: arch").Config,
        "objective": load_plugin(losses, str(mapping.get("loss", base.loss)), f"{where}: loss").Config,
    }
    try:
        return _build(Config, mapping, where, "", plugin_types)
    except InputError as error:  # the checks of single fields do not know where a value came from
        raise InputError(str(error) if where in str(error) else f"{where}: {error}") from None


def from_yaml(text: str, where: str) -> Config:
    """Parse what `to_yaml` wrote."""
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(mapping, dict):
        raise InputError(f"{where} must hold a mapping of options, not {type(mapping).__name__}")
    return from_mapping(mapping, where)


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """Copy of a configuration with ``a.b=c`` settings applied, left to right.

    Values are read as YAML, so ``null``, ``true``, ``1e-3`` and ``{256: 14}`` mean what they look like. Setting
    ``arch`` or ``loss`` puts the options of that plug-in back to its defaults.
    """
    mapping = to_mapping(config)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set {setting}: expected KEY=VALUE, for example --set growth.batch=8")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {setting}: {text!r} is not a YAML value; quote it if it is text") from None
        _assign(mapping, key, value, setting)
        for name, package, options in (("arch", architectures, "network"), ("loss", losses, "objective")):
            if key == name and value != getattr(config, name):
                mapping[options] = to_mapping(load_plugin(package, str(value), f"--set: {name}").Config())
    return from_mapping(mapping, "--set")


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with the old and the new value."""
    flat_old, flat_new = _flatten(to_mapping(old)), _flatten(to_mapping(new))
    keys = [*flat_old, *(key for key in flat_new if key not in flat_old)]
    pairs = {key: (flat_old.get(key), flat_new.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flatten(mapping: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _assign(mapping: dict[Any, Any], key: str, value: Any, setting: str) -> None:
    """Set a dotted key in a nested mapping; tables keyed by resolution (``..._by_resolution``) take new entries."""
    *path, last = key.split(".")
    place: Any = mapping
    for depth, part in enumerate(path):
        if part not in place or not isinstance(place[part], dict):
            known = [name for name, child in place.items() if isinstance(child, dict)]
            raise InputError(
                f"--set {setting}: {'.'.join(path[: depth + 1])} is not a group of options{nearest(part, known)}"
            )
        place = place[part]
    if path and path[-1].endswith("_by_resolution"):
        place[int(last) if last.isdecimal() else last] = value
    elif last not in place:
        prefix = "".join(f"{part}." for part in path)
        elsewhere = [one for one in _flatten(mapping) if one.rpartition(".")[2] == last]
        where = f"; did you mean {elsewhere[0]}?" if elsewhere else nearest(last, list(place), prefix)
        raise InputError(f"--set {setting}: there is no option {key}{where}")
    else:
        place[last] = value


def _build(cls: type[_T], mapping: Any, where: str, prefix: str, plugin_types: Mapping[str, type[Any]]) -> _T:
    """Instance of the dataclass `cls` from a mapping, every key and type checked."""
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where}: {prefix.rstrip('.')} must be a group of options, got {mapping!r}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]  # every caller passes a dataclass
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        if key not in names:
            raise InputError(f"{where}: there is no option {prefix}{key}{nearest(str(key), names, prefix)}")
        kind = plugin_types.get(key, hints[key]) if not prefix else hints[key]
        values[key] = _convert(kind, value, where, f"{prefix}{key}")
    if not prefix:
        values = {name: _build(kind, {}, where, f"{name}.", {}) for name, kind in plugin_types.items()} | values
    return cls(**values)


def _convert(kind: Any, value: Any, where: str, key: str) -> Any:
    """`value` as the type `kind`, or an error that says what is allowed."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast("type[Any]", kind), value, where, f"{key}.", {})
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = (one for one in arguments if one is not type(None))
        return _convert(inner, value, where, key)
    if origin is Literal:
        if value in arguments:
            return value
        raise InputError(f"{where}: {key} must be one of {', '.join(map(str, arguments))}, got {value!r}")
    if origin is tuple:
        entries = value.split(",") if isinstance(value, str) else value
        if not isinstance(entries, (list, tuple)):
            raise InputError(f"{where}: {key} must be a list such as [a, b], got {value!r}")
        return tuple(_convert(arguments[0], entry, where, key) for entry in entries if entry != "")
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: {key} must be a table such as {{256: 14}}, got {value!r}")
        table = {}
        for k, v in value.items():
            number = int(k) if arguments[0] is int and isinstance(k, str) and k.isdecimal() else k  # as JSON keeps it
            table[_convert(arguments[0], number, where, f"{key}, key {k}")] = _convert(
                arguments[1], v, where, f"{key}.{k}"
            )
        return table
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)  # YAML reads 1e-3, without a point, as text
            if math.isfinite(number):
                return number
    elif type(value) is kind and not (kind is float and not math.isfinite(value)):
        return value
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
    raise InputError(f"{where}: {key} must be {names.get(kind, kind)}, got {value!r}")
