"""Settings classes -> what a key may be, how its value is written, and the reference (`python -m worker.describe`)."""

from __future__ import annotations

import json
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from worker.config import Settings, Stream
from worker.destinations import Sinks
from worker.durations import format_duration
from worker.servers import Feeds
from worker.serving import Rule

HIDDEN = "***"
# Sections whose keys are in sections of their own.
GROUPS: Mapping[str, type[BaseModel]] = {"sinks": Sinks, "feeds": Feeds}
# Sections that stand several times in a file, as [[NAME]]; each is one key, whose value is a list.
LISTS: Mapping[str, type[BaseModel]] = {"rules": Rule}
_SIZES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def sections() -> dict[str, type[BaseModel]]:
    """The sections of the file by name; `streams` is given as the class of one stream."""
    found: dict[str, type[BaseModel]] = {}
    for name, info in Settings.model_fields.items():
        if name in LISTS:
            continue
        if name in GROUPS:
            found |= {f"{name}.{kind}": _class(of_kind) for kind, of_kind in GROUPS[name].model_fields.items()}
        else:
            found[name] = Stream if name == "streams" else _class(info)
    return found


def keys(streams: Iterable[str]) -> dict[str, FieldInfo]:
    """Every key that may be set, with these streams, by its dotted name."""
    streams = list(streams)
    found: dict[str, FieldInfo] = {name: Settings.model_fields[name] for name in LISTS}
    for section, cls in sections().items():
        prefixes = [f"streams.{name}" for name in streams] if section == "streams" else [section]
        for key, info in ((f"{prefix}.{name}", info) for prefix in prefixes for name, info in cls.model_fields.items()):
            found |= {f"{key}.{name}": info for name in streams} if is_by_stream(info) else {key: info}
    return found


def is_by_stream(info: FieldInfo) -> bool:
    """Whether the key is a table with a value per stream."""
    return get_origin(info.annotation) is Mapping


def is_secret(info: FieldInfo) -> bool:
    """Whether the value may never be printed."""
    return bool(_extra(info).get("secret"))


def expected(info: FieldInfo) -> str:
    """What a key may be, as a phrase that follows "must be"."""
    if form := _extra(info).get("form"):
        return str(form)
    kind = _bare(info.annotation)
    bounds = [
        f"{word} {_render_plain(getattr(rule, name))}"
        for rule in info.metadata
        for name, word in _BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    if any(getattr(rule, "min_length", None) for rule in info.metadata):
        bounds.append("not empty")
    return ", ".join([_kind(kind), *bounds])


def render(value: Any, info: FieldInfo) -> str:
    """The value as it would be written in the file; of a secret only that it is set, of an address not its password."""
    if value is None:
        return "not set"
    if is_secret(info):
        return _render_plain(masked_url(value)) if isinstance(value, str) and "://" in value else HIDDEN
    return _render_plain(value)


def masked_url(url: str) -> str:
    """An address with its password hidden; hidden whole when it cannot be told where the password ends."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    credentials, _, host = parts.netloc.rpartition("@")
    if parts.scheme not in ("redis", "rediss", "unix") or "@" in parts.path + parts.query + parts.fragment:
        return HIDDEN
    user = credentials.partition(":")[0]
    hidden = f"{user}:{HIDDEN}@" if ":" in credentials else f"{credentials}@" if credentials else ""
    query = "&".join(HIDDEN if "pass" in part.lower() else part for part in parts.query.split("&"))
    return f"{parts.scheme}://{hidden}{host}{parts.path}" + (f"?{query}" if query else "")


def flatten(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, FieldInfo]]:
    """Each key of the settings with its value and its field, in the file's order."""
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if isinstance(item, BaseModel):
                    yield from flatten(item, f"{prefix}{name}.{key}.")
                else:
                    yield f"{prefix}{name}.{key}", item, info
        elif name in LISTS and not prefix:
            yield name, [one.model_dump(exclude_unset=True) for one in value], info
        else:
            yield f"{prefix}{name}", value, info


def reference() -> str:
    """docs/configuration.md, from the descriptions of the keys."""
    out = [_HEAD]
    for section, cls in (*sections().items(), *LISTS.items()):
        name = "streams.NAME" if section == "streams" else f"[{section}]" if section in LISTS else section
        out += [
            f"\n## [{name}]\n\n{_first_line(cls)}\n",
            "| key | default | may be | what it does |",
            "|---|---|---|---|",
        ]
        for key, info in cls.model_fields.items():
            default = (
                "required" if info.is_required() else f"`{_render_plain(info.get_default(call_default_factory=True))}`"
            )
            default = "not set" if info.default is None or is_by_stream(info) else default
            shown = f"{key}.NAME" if is_by_stream(info) else key
            out.append(f"| `{shown}` | {default} | {expected(info)} | {info.description} |")
    return "\n".join(out) + "\n"


def example() -> str:
    """deploy/config.example.toml: every key with its default, ready to be changed."""
    out = ["# Every key with its default. Keys are described in docs/configuration.md."]
    for key, value, info in flatten(Settings()):
        table, _, name = key.rpartition(".")
        if key in LISTS:
            continue
        if f"[{table}]" not in out:
            out += ["", f"[{table}]"]
        text = f"# {name} = ..." if value is None else f"{name} = {_render_plain(value)}"
        out.append(f"{text}  # {expected(info)}")
    for section, cls in LISTS.items():
        out += [
            "",
            f"# [[{section}]]",
            *(f"# {name} = ...  # {expected(one)}" for name, one in cls.model_fields.items()),
        ]
    return "\n".join(out) + "\n"


def commented(values: Mapping[str, Any], about: Mapping[str, str]) -> str:
    """TOML of these keys, each below what it does and may be, where it first comes; None: a key that is not set.

    Args:
        values: by dotted key, the keys of a section one after another.
        about: what stands below the heads of sections.
    """
    known = keys(dict.fromkeys(key.split(".")[1] for key in values if key.startswith("streams.")))
    out: list[str] = []
    told: set[str] = set()
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if f"[{section}]" not in out:
            out += ["", f"[{section}]", *_comment(about.get(section, ""))]
        what = f"{known[key].description} May be: {expected(known[key])}."
        if what not in told:
            told.add(what)
            out += _comment(what)
        out.append(f"# {name} = ..." if value is None else f"{name} = {_render_plain(value)}")
    return "\n".join(out) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 116, initial_indent="# ", subsequent_indent="# ", break_long_words=False)


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    named = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        timedelta: "a duration such as 500ms, 2s or 1h",
        ByteSize: "a size such as 64KiB or 8MiB",
    }
    return named[kind]


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def _class(info: FieldInfo) -> type[BaseModel]:
    found: type[BaseModel] = _bare(info.annotation)
    return found


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _render_plain(value: Any) -> str:
    if isinstance(value, timedelta):
        return f'"{format_duration(value)}"'
    if isinstance(value, ByteSize):
        unit = next(((size, name) for size, name in _SIZES if value and value % size == 0), None)
        return f'"{value // unit[0]}{unit[1]}"' if unit else str(int(value))
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python writes no number of over 4,300 digits; TOML reads one that is hexadecimal.
        return "a number that is too long to show"


def _first_line(cls: type[BaseModel]) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


_HEAD = """# Configuration

Made by `python -m worker.describe reference` from the descriptions in `worker/config.py`; a test holds it current.
`deploy/config.example.toml` has every key with its default.

A value is taken from the last of these that gives one:

1. the default,
2. the TOML file of `--config FILE`,
3. the environment: `FUSION__SECTION__KEY`, such as `FUSION__STREAMS__FRAMES__MAX_WAIT=1s`; with `_FILE` appended the
   value is read from the file named there, less its last line end (`FUSION__REDIS__PASSWORD_FILE=/run/secrets/redis`),
4. `--set section.key=value`, as often as needed.

In the environment and in `--set` a value is read as TOML where that fits the key (`9108`, `true`), else as text, so
that no quotes are needed; a secret is always taken as it stands. A file that names any `[streams.NAME]` names all
streams; without one there are `texts` (anchor) and `frames`. Unknown keys are errors. `fusion-worker check --all`
prints what is in force and where each value came from, secrets as `***`."""


def main(arguments: list[str]) -> int:
    """Writes the reference page, or the example file, to standard output."""
    pages = {"reference": reference, "example": example}
    if len(arguments) != 1 or arguments[0] not in pages:
        sys.stderr.write(f"python -m worker.describe: must be {' or '.join(pages)}, not {' '.join(arguments)!r:.80}\n")
        return 2
    sys.stdout.write(pages[arguments[0]]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
