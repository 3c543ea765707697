"""The house rules that a linter does not know: sizes, names and what may not stand in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 300
MOST_FUNCTION_LINES = 40
# A letter in brackets keeps a pattern from finding itself: no file is left out, this one neither.


def sources() -> list[Path]:
    """Every Python and Lua file of the tree, tracked or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.lua"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


SOURCES = sources()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a Python file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    docstring = ast.get_docstring(node, clean=False)
    return (node.end_lineno or 0) - node.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)


def test_there_is_something_to_look_at() -> None:
    """The listing works."""
    assert len(SOURCES) > 60


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by their names alone, and stops at the second."""
    names = [path.name for path in SOURCES if path.name.startswith("test_")]
    assert [name for name in set(names) if names.count(name) > 1] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_fits_on_a_few_pages(path: Path) -> None:
    """At most 300 lines a file and 40 a function, and nothing is left to be done."""
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    if path.suffix == ".py":
        long = {node.name: body_lines(node) for node in functions(path) if body_lines(node) > MOST_FUNCTION_LINES}
        assert not long
    assert not re.search(r"\b([T]ODO|[F]IXME|[X]XX|[N]otImplementedError)\b", text)


def test_modules_say_what_they_are() -> None:
    """Each module of the worker begins with a docstring."""
    silent = [p for p in SOURCES if p.suffix == ".py" and "worker" in p.parts and p.name != "__init__.py"]
    assert [p.name for p in silent if not ast.get_docstring(ast.parse(p.read_text()))] == []


def test_tests_make_a_claim_and_none_is_skipped() -> None:
    """Each test has a docstring, and no test is skipped or expected to fail."""
    tests = [p for p in SOURCES if p.name.startswith("test_")]
    mute = [
        f"{p.name}::{f.name}"
        for p in tests
        for f in functions(p)
        if f.name.startswith("test_") and not ast.get_docstring(f)
    ]
    assert mute == []
    assert [p.name for p in tests if re.search(r"mark\.(skip|xfail)|pytest\.skip\(", p.read_text())] == []


def test_no_drawer_for_odds_and_ends() -> None:
    """No folder is named utils, common or helpers."""
    assert [p for p in SOURCES if {"utils", "common", "helpers"} & set(p.relative_to(ROOT).parts)] == []


def test_nothing_names_this_machine_or_a_registry() -> None:
    """No path of a developer's machine and no registry's host in what is committed."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    told = re.compile(r"/(work|root|home)/\w+/|pypi[.]org|[p]ythonhosted|repo1?[.]maven|registry[.]npmjs")
    found = [
        name
        for name in listed.splitlines()
        if Path(name).suffix in {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".xml", ".lua", ""}
        and (ROOT / name).is_file()
        and told.search((ROOT / name).read_text(errors="replace"))
    ]
    assert found == []
