"""The least ACLs: enough for `check` and for a worker, and each one missing is named."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.security.cases import least, settings, table, told
from tests.security.secured import SecuredKafka
from worker.check import _kafka, ask_all
from worker.findings.finding import Level

RIGHTS = least(settings({}))


@pytest.mark.parametrize("number", range(len(RIGHTS)), ids=[str(right) for right in RIGHTS])
def test_each_right_that_is_missing_is_named(kafka: SecuredKafka, number: int) -> None:
    """That one, and no other."""
    code, line = told(kafka.sasl(f"without{number}"))
    assert code == 3
    assert f"Kafka lets user 'without{number}' do too little; missing: {RIGHTS[number]} (docs" in line


def test_all_that_is_missing_is_told_together(kafka: SecuredKafka) -> None:
    """Who has none is not told one a time."""
    code, line = told(kafka.sasl("nothing"))
    assert code == 3
    assert [str(right) for right in RIGHTS if str(right) not in line] == []


def test_at_least_once_needs_no_transactional_id(kafka: SecuredKafka) -> None:
    """The only difference."""
    plain = {"delivery": {"guarantee": "at_least_once"}}
    fewer = least(settings({}, **plain))
    assert [right.resource for right in RIGHTS if right not in fewer] == ["TRANSACTIONAL_ID"]
    assert told(kafka.sasl(f"without{len(RIGHTS) - 1}"), **plain)[0] == 0


def test_what_the_user_may_not_see_is_told_and_costs_nothing(kafka: SecuredKafka) -> None:
    """With the least rights neither topics nor brokers show their configuration."""
    answer = ask_all({"kafka": (_kafka, 60.0)}, settings(kafka.sasl("least")))["kafka"]
    assert answer.exit_code == 0
    said = [str(one) for one in answer.findings if one.level is Level.NOTE]
    for what, right in (
        ("the topics' limits, retention and policies", "DESCRIBE_CONFIGS on the topics"),
        ("the brokers' limits", "DESCRIBE_CONFIGS on the cluster"),
    ):
        assert any(one.startswith(f"could not look at {what}: needs {right}") for one in said), said


def test_the_page_shows_the_rights_that_are_given_here() -> None:
    """docs/security.md has the same rows."""
    page = (ROOT / "docs/security.md").read_text()
    shown = page.partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert shown == table()
