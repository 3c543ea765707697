"""docs/check.md has a row for every finding that the code can make, with its level, and no other."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT

MAKERS = ("error", "warning", "note")
# What the code says, by words of its sentence as they are written there -> the rows of the page.
ROWS: dict[str, tuple[str, ...]] = {
    "kafka.session_timeout =": ("session timeout",),
    "partitions, {anchor!r} has": ("unequal partitions",),
    "has 1 partition: one worker": ("one anchor partition",),
    "is kept by one broker": ("one replica",),
    "min.insync.replicas is 1 of": ("one in sync is enough",),
    "min.insync.replicas is {least}": ("as many in sync as replicas",),
    "less than {least}: {cost}": ("dead letters too small", "results too small"),
    "less than the {body} that": ("inputs too small",),
    "kafka.fetch_max_bytes is": ("fetches too small",),
    "cleanup.policy is": (
        "compacted input", "compacted results", "compacted dead letters", "compacted reviews", "compacted answers",
    ),
    "retention.ms is": ("kept too short",),
    "offset.metadata.max.bytes is": ("commit metadata",),
    "offsets.retention.minutes is": ("offsets forgotten",),
    "records in {codec} cannot be read": ("codec not installed",),
    "not read by librdkafka": ("no librdkafka",),
    "maxmemory-policy is {odd}": ("another policy",),
    "does not tell its maxmemory-policy": ("policy not told",),
    "maxmemory is not set": ("no maxmemory",),
    "str(error).rsplit": ("full",),
    "this machine's clock is": ("clocks",),
    "the model tells no confidence": ("no confidence",),
    "trained on masked bodies": ("trained on masked bodies",),
    "trained on bodies as they came": ("trained on bodies as they came",),
    "unlisted": ("no list of its files",),
    "takes no spans": ("takes no spans",),
    "this process may open": ("open files",),
    "http.token_file without TLS": ("token in the clear",),
    "http.console without http.token_file": ("page without a token",),
    # Not a row but a paragraph: of any part.
    "could not look at": (),
}  # fmt: skip


def made() -> list[tuple[str, str]]:
    """Level and sentence, as it is written, of each finding in the code."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "worker/findings").glob("*.py")]
    trees.append(ast.parse((ROOT / "worker/check.py").read_text()))
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(call.func), ast.unparse(call.args[0])) for call in calls if ast.unparse(call.func) in MAKERS]


def test_every_finding_of_the_code_has_its_rows() -> None:
    """A new finding is not in the list above until it has a row; a row whose finding is gone goes."""
    levels: dict[str, str] = {}
    for level, sentence in made():
        known = [words for words in ROWS if words in sentence]
        assert len(known) == 1, f"{level} {sentence}: give it a row in docs/check.md, and its words to ROWS"
        levels |= dict.fromkeys(ROWS[known[0]], level)
    page = (ROOT / "docs/check.md").read_text()
    there = re.findall(rf"^\| ([^|]+) \| ({'|'.join(MAKERS)}) \|", page, re.MULTILINE)
    assert sorted(there) == sorted(levels.items())
    assert {row for rows in ROWS.values() for row in rows} == set(levels)
    assert "`could not look at ...: needs DESCRIBE_CONFIGS" in page
