"""Presets -> the tables of docs/feeds.md, fields in and fields out (`python -m worker.feeds.messages.table`)."""

from __future__ import annotations

import re
from pathlib import Path

from worker.feeds.messages.mapping import Count, MessageMapping, Rule, mapping_of, preset_file, presets_of

PAGE = Path(__file__).parents[3] / "docs" / "feeds.md"
_BEGIN, _END = "<!-- presets -->", "<!-- /presets -->"


def section(transport: str, mapping: MessageMapping) -> str:
    """The table of one preset."""
    base = f"{mapping.base}/" if mapping.base else ""
    rows = [_row(base, rule) for rule in mapping.rule if not rule.skip]
    silent = [_messages(base, rule) for rule in mapping.rule if rule.skip and not _is_joined(mapping, rule)]
    tail = f"\n\nNo event: {', '.join(silent)}." if silent else ""
    tail += f"\n\nNot read: {mapping.not_read}." if mapping.not_read else ""
    head = "| messages | event | key | id | time | fields: from |\n|---|---|---|---|---|---|"
    command = transport if transport == mapping.name else f"{transport} --preset {mapping.name}"
    return f"**`feed {command}`**: {mapping.about}.\n\n" + "\n".join([head, *rows]) + tail


def page_with(page: str) -> str:
    """The page with the tables between its two marks."""
    tables = "\n\n".join(
        section(transport, mapping_of(preset_file(transport, name)))
        for transport in ("mqtt", "kafka", "onvif")
        for name in presets_of(transport)
    )
    return re.sub(f"{_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n{tables}\n{_END}", page, flags=re.DOTALL)


def _is_joined(mapping: MessageMapping, rule: Rule) -> bool:
    return any(one.join is not None and one.join.rule == rule.name for one in mapping.rule)


def _messages(base: str, rule: Rule) -> str:
    what = f"`{base}{rule.topic}`" if rule.topic else "any record"
    when = [f"`{path}`" if wanted is True else f"`{path}` = {wanted}" for path, wanted in rule.when.items()]
    return f"{what} with {', '.join(when)}" if when else what


def _row(base: str, rule: Rule) -> str:
    times = [f"`{one}`" for one in rule.time] + ["arrival"]
    messages = _messages(base, rule)
    return (
        f"| {messages} | {rule.modality} `{rule.type}` | `{rule.key}` | `{rule.id}` | {', else '.join(times)} "
        f"| {_fields(rule)} |"
    )


def _fields(rule: Rule) -> str:
    if isinstance(rule.body, str) and rule.modality == "sensor":
        leave = f" but {', '.join(f'`{one}`' for one in rule.leave)}" if rule.leave else ""
        told = [f"`{rule.prefix}...`: each field{leave}"]
    elif rule.body is None or isinstance(rule.body, str):
        told = [f"body: `{rule.body}`" if rule.body else "body: the payload"]
    else:
        told = [f"`{name}`: {_source(value)}" for name, value in rule.body.items()]
    return ", ".join([*told, *(f"`ce_{name}`: `{text}`" for name, text in rule.attributes.items())])


def _source(value: str | Count) -> str:
    if isinstance(value, str):
        return f"`{value}`" if value else "the payload"
    # A bar would end the cell.
    of = f" with `{value.containing.strip('|')}`" if value.containing else ""
    return f"how many in `{value.count}`{of}"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text("utf-8")), "utf-8")
