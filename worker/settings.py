"""Defaults < TOML file < environment < `--set` -> Settings, each key with the place it came from."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from worker.config import Settings, Stream
from worker.describe import GROUPS, LISTS, expected, flatten, is_by_stream, is_secret, keys, render, sections
from worker.errors import ConfigError
from worker.redaction import remember
from worker.text_files import is_utf8, read_secret, read_text

ENVIRONMENT_PREFIX = "FUSION__"
FILE_SUFFIX = "_file"
DEFAULT = "default"
# Sections, and inside them what has a value per stream.
_TABLES = (
    *sections(),
    *GROUPS,
    *(
        f"{section}.{name}"
        for section, cls in sections().items()
        for name, info in cls.model_fields.items()
        if is_by_stream(info)
    ),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force; `origin` has an entry per dotted key: `default`, or where its value was given."""

    settings: Settings
    origin: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Given:
    value: Any
    origin: str


def load(config_file: Path | None, overrides: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Reads the configuration; later places win: defaults, file, environment, `--set`.

    Args:
        config_file: a TOML file, or None.
        overrides: `section.key=value`, as given to `--set`.
        environ: the environment; only names that begin with `FUSION__` are looked at.

    Raises:
        ConfigError: one line that names the key, the value (never a secret's), what it may be and where it came from.
    """
    given = _default_streams()
    if config_file is not None:
        table, name = _read_toml(config_file), str(config_file)
        if "streams" in table:
            given = {}
        given |= _from_file(table, name, given)
    known_streams = _streams(given)
    given |= _from_environment(environ, given)
    given |= _from_overrides(overrides, given)
    _refuse_half_a_stream(given, known_streams)
    known = keys(_streams(given))
    remember(str(found.value) for key, found in given.items() if is_secret(known[key]))
    try:
        settings = Settings.model_validate(_nested(given))
    except ValidationError as error:
        raise ConfigError(_sentence(error, given)) from error
    origin = {key: given[key].origin if key in given else DEFAULT for key, _, _ in flatten(settings)}
    return Loaded(settings, origin)


def redacted(settings: Settings) -> dict[str, str]:
    """Every key with its value as it would be written in the file; secrets are hidden."""
    return {key: render(value, info) for key, value, info in flatten(settings)}


def _refuse_half_a_stream(given: Mapping[str, _Given], known: Sequence[str]) -> None:
    """A misspelt name in a variable or --set would begin a stream of its own."""
    needed = {name for name, info in Stream.model_fields.items() if info.is_required()}
    for key, found in given.items():
        section, name, *_ = *key.split("."), ""
        if section != "streams" or name in known:
            continue
        if absent := [one for one in sorted(needed) if f"streams.{name}.{one}" not in given]:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"streams are {', '.join(known)};"
            raise ConfigError(f"{key} ({found.origin}): there is no stream {name!r}; {hint} "
                              f"a new one needs also {', '.join(absent)}")  # fmt: skip


def _default_streams() -> dict[str, _Given]:
    return {
        f"streams.{name}.{key}": _Given(value, DEFAULT)
        for name, stream in Settings().streams.items()
        for key, value in stream.model_dump(exclude_unset=True).items()
    }


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"--config {path}: not valid TOML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"--config {path}: {error}") from error


def _from_file(table: Mapping[str, Any], origin: str, given: Mapping[str, _Given]) -> dict[str, _Given]:
    leaves = dict(_leaves(table))
    known = keys(_streams([*given, *leaves]))
    for key, value in leaves.items():
        if key not in known:
            if (section := key.partition(".")[0]) in LISTS:
                raise ConfigError(f"{section} ({origin}): is a list: write [[{section}]], once for each")
            if key in _TABLES or (key.startswith("streams.") and key.count(".") == 1):
                raise ConfigError(f"{key} ({origin}): must be a table: write [{key}] with its keys below")
            raise ConfigError(_unknown(key, origin, known))
        if isinstance(value, Mapping):
            raise ConfigError(f"{key} ({origin}): is no table; must be {expected(known[key])}")
    return {key: _Given(value, origin) for key, value in leaves.items()}


def _leaves(table: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        key = f"{prefix}{name}"
        deepest = 3 if key == "streams" or key in _TABLES or key.startswith("streams.") else 2
        if isinstance(value, Mapping) and depth < deepest and (value or key in _TABLES):
            yield from _leaves(value, f"{key}.", depth + 1)
        else:
            yield key, value


def _from_environment(environ: Mapping[str, str], given: Mapping[str, _Given]) -> dict[str, _Given]:
    names = sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX))
    if odd := [name for name in names if not is_utf8(name + environ[name])]:
        raise ConfigError(f"environment {odd[0]!r}: is not UTF-8")
    dotted = {name: ".".join(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")) for name in names}
    known = keys(_streams([*given, *dotted.values()]))
    out: dict[str, _Given] = {}
    for name, key in dotted.items():
        text, origin = environ[name], f"environment {name}"
        if key not in known and key.removesuffix(FILE_SUFFIX) in known:
            key, text, origin = key.removesuffix(FILE_SUFFIX), _read_secret(name, text), f"{origin} ({text})"
        if key not in known:
            raise ConfigError(_unknown(key, origin, known))
        if key in out:
            raise ConfigError(f"{key} is given twice: by {out[key].origin} and by {origin}")
        out[key] = _Given(_parsed(text, known[key]), origin)
    return out


def _read_secret(name: str, path: str) -> str:
    try:
        return read_secret(path)
    except ValueError as error:
        raise ConfigError(f"environment {name} names {error}") from error


def _from_overrides(overrides: Sequence[str], given: Mapping[str, _Given]) -> dict[str, _Given]:
    pairs = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {key}: must be section.key=value")
        pairs.append((key.strip(), value.strip()))
    known = keys(_streams([*given, *(key for key, _ in pairs)]))
    for key, _ in pairs:
        if key not in known:
            raise ConfigError(_unknown(key, "--set", known))
    return {key: _Given(_parsed(value, known[key]), "--set") for key, value in pairs}


def _parsed(text: str, info: FieldInfo) -> Any:
    if is_secret(info):
        return text
    try:
        table = tomllib.loads(f"value = {text}")
        kind = get_args(info.annotation)[1] if is_by_stream(info) else info.rebuild_annotation()
        TypeAdapter(kind).validate_python(table["value"])
    except (ValueError, RecursionError):  # no TOML, a number of over 4,300 digits, or not what the key may be
        return text
    return table["value"] if len(table) == 1 else text


def _streams(dotted: Iterable[str]) -> list[str]:
    parts = (key.split(".") for key in dotted)
    return list(dict.fromkeys(part[1] for part in parts if part[0] == "streams" and len(part) == 3))


def _nested(given: Mapping[str, _Given]) -> dict[str, Any]:
    out: dict[str, Any] = {"streams": {}}
    for key, found in given.items():
        *path, name = key.split(".")
        table = out
        for part in path:
            table = table.setdefault(part, {})
        table[name] = found.value
    return out


def _unknown(key: str, origin: str, known: Mapping[str, FieldInfo]) -> str:
    section, _, name = key.rpartition(".")
    same_name = [other for other in known if other.rpartition(".")[2] == name]
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.7)
    near = near or difflib.get_close_matches(key, same_name, 1, 0.0)
    siblings = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == section]
    if near:
        hint = f"did you mean {near[0]}?"
    elif siblings:
        hint = f"[{section}] has {', '.join(siblings)}"
    else:
        hint = f"sections are {', '.join(sections())}"
    return f"{key} ({origin}): unknown key; {hint}"


def _sentence(error: ValidationError, given: Mapping[str, _Given]) -> str:
    first, *others = error.errors(include_url=False)
    if len(first["loc"]) > 1 and first["loc"][0] in LISTS:
        return _of_list(first, given) + (f" (and {len(others)} more)" if others else "")
    parts = [str(part) for part in first["loc"]]
    info, key = None, ".".join(parts)
    known = keys(_streams(given))
    while parts and info is None:
        key = ".".join(parts)
        info = known.get(key)
        parts = parts[:-1]
    more = f" (and {len(others)} more)" if others else ""
    if info is None:
        key = ".".join(str(part) for part in first["loc"])
        reason = str(first["msg"]).removeprefix("Value error, ")
        origins = dict.fromkeys(g.origin for k, g in given.items() if key and k.startswith(f"{key}."))
        places = ", ".join(origin for origin in origins if origin != DEFAULT)
        return f"{key}{f' ({places})' if places else ''}{': ' if key else ''}{reason}{more}"
    if first["type"] == "missing":
        return f"{key}: must be given: {expected(info)}; {info.description}{more}"
    found = given.get(key, _Given(info.get_default(), DEFAULT))
    why = f"; {str(first['msg']).removeprefix('Value error, ')}" if first["type"] == "value_error" else ""
    return f"{key} = {render(found.value, info)} ({found.origin}): must be {expected(info)}{why}{more}"


def _of_list(error: ErrorDetails, given: Mapping[str, _Given]) -> str:
    """What is wrong with one table of a list of tables, such as [[rules]]."""
    section, number, *rest = error["loc"]
    found, fields = given[str(section)], LISTS[str(section)].model_fields
    where = f"{section}, number {int(number) + 1} ({found.origin})"
    if not rest:
        return f"{where}: must be a table with {', '.join(fields)}"
    name = str(rest[0])
    if name not in fields:
        return f"{where}: {name}: unknown key; a table of [[{section}]] has {', '.join(fields)}"
    must = f"{name}: must be {'given: ' if error['type'] == 'missing' else ''}{expected(fields[name])}"
    return f"{where}: {must}"
