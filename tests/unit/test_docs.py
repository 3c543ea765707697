"""The pages: links lead somewhere, commands exist, and the README stays a page that is read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from worker.cli import _parser
from worker.describe import expected, keys, sections
from worker.sections import TOPIC_FORM

ROOT = Path(__file__).parents[2]
MOST_README_LINES = 150
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
_COMMAND = re.compile(r"fusion-worker ([a-z]+)\b(?!-)")


def pages() -> list[Path]:
    """Every Markdown page of the tree, tracked or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


PAGES = pages()


def anchors(page: Path) -> set[str]:
    """The headings as GitHub makes links of them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files are there, and headings within them."""
    for target, anchor in _LINK.findall(page.read_text()):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def test_commands_exist() -> None:
    """Whatever a page tells to run is a command, and each command is on some page."""
    actions = [action for action in _parser()._actions if action.choices and action.dest == "command"]
    known = set(actions[0].choices or ())
    told = {name for page in PAGES for name in _COMMAND.findall(page.read_text())}
    assert known - told == set()
    assert {name for page in PAGES for name in re.findall(r"`fusion-worker ([a-z]+)", page.read_text())} <= known


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """What does not fit is a page in docs/."""
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n") < MOST_README_LINES
    linked = {(ROOT / target).resolve() for target, _ in _LINK.findall(readme)}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked


def test_log_lines_of_the_runbook_are_written() -> None:
    """Who finds a line in a log and looks it up finds it as it is written."""
    table = (ROOT / "deploy/RUNBOOK.md").read_text().partition("# Log lines worth a look")[2].partition("\n# ")[0]
    lines = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    code = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    assert lines
    assert [line for line in lines if line not in code] == []


def test_the_retention_table_has_every_place_that_the_configuration_names() -> None:
    """Topics, sinks and where spans go; and what `forget` does not delete names the sinks."""
    page = (ROOT / "docs/privacy.md").read_text()
    table = page.partition("## Retention")[2].partition("\n## ")[0]
    topics = {re.sub(r"^(streams|sinks)\.\w+\.", r"\1.*.", key)
              for key, info in keys(["any"]).items() if expected(info) == TOPIC_FORM}  # fmt: skip
    sinks = {section for section in sections() if section.startswith("sinks.")}
    assert {"output.topic", "model.shadow_topic", "sinks.*.dead_letter_topic"} <= topics
    first = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    assert sorted(one for one in {*topics, *sinks, "traces.endpoint"} if f"`{one}`" not in first) == []
    kept = page.partition("does **not** delete")[2]
    assert [one for one in ("Parquet", "SQL", "sink mqtt --forget", "webhook") if one not in kept] == []


def typed(text: str) -> list[str]:
    """The blocks of a page that may be typed: indented, fenced as a shell's, or our commands between backticks."""
    fenced = re.findall(r"^```(?:sh|bash|shell|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [
        *fenced,
        *re.findall(r"(?:^    \S.*\n)+", plain, re.MULTILINE),
        *re.findall(r"`((?:fusion-worker|kcat) [^`]*)`", plain),
    ]


def expanded(commands: str) -> list[str]:
    """The `${...}` that a shell would put its own value in place of, before the program has them."""
    quoted = r"<<-?\s*(['\"])(\w+)\1.*?^\s*\2$|'[^']*'|\\.|(?:^|(?<=\s))#[^\n]*"
    left = re.sub(
        rf'{quoted}|(?P<double>"(?:\\.|[^"\\])*")', lambda found: found["double"] or "", commands, flags=re.M | re.S
    )
    return re.findall(r"\$\{[^}]*\}", left)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_secret_s_name_is_in_single_quotes(page: Path) -> None:
    """What a command takes from the environment itself the shell must not put into the command line."""
    assert [one for block in typed(page.read_text()) for one in expanded(block)] == []


@pytest.mark.parametrize(
    ("commands", "found"),
    [
        ("feed a=http://u:${P}@h", ["${P}"]), ("feed 'a=http://u:${P}@h'", []), ('feed "a=${P}"', ["${P}"]),
        ('feed "it\'s ${P}" \'${Q}\'', ["${P}"]), ("cat <<'E' > f\n${P}\nE\nfeed ${Q}", ["${Q}"]),
        ("cat <<E\n${P}\nE", ["${P}"]), ("feed a  # don't\nfeed ${P}", ["${P}"]), (r"feed \${P}", []),
    ],
)  # fmt: skip
def test_a_shell_s_quotes_are_read_as_a_shell_reads_them(commands: str, found: list[str]) -> None:
    """Double quotes do not keep it from the shell, nor does an apostrophe within them or in a comment."""
    assert expanded(commands) == found
