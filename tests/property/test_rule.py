"""The rule over a whole log against the oracle, which shares no code with it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import match
from tests.property.test_alignment import IDS, must_be_complete
from tests.store_fixtures import rule
from worker.records import Candidate, MatchRule, Missing
from worker.stages.rule import choose

RULES = st.builds(
    lambda mode, before, after, lateness, limit: rule(
        mode, before_us=before, after_us=after, lateness_us=lateness, limit=limit
    ),
    st.sampled_from(["nearest", "latest", "window"]),
    st.integers(0, 12), st.integers(0, 12), st.sampled_from([0, 0, 1, 5, 20]), st.integers(1, 4),
)  # fmt: skip
EVENTS = st.lists(st.tuples(st.integers(1, 40), st.sampled_from(IDS)), max_size=30)


@settings(max_examples=1500, deadline=None)
@given(used=RULES, anchor_us=st.integers(0, 45), events=EVENTS)
def test_the_rule_picks_what_the_oracle_picks(used: MatchRule, anchor_us: int, events: list[tuple[int, str]]) -> None:
    """The same events in the same order, whatever is given twice; the same word for complete; a reason when none."""
    found = choose(used, anchor_us, [Candidate(*event) for event in events])
    assert list(found.chosen) == match(used, anchor_us, events)
    assert found.complete == must_be_complete(used, anchor_us, events)
    assert found.known == len(set(events))
    if not found.chosen:
        assert found.missing == (Missing.OUT_OF_TOLERANCE if events else Missing.NEVER_SEEN)
        assert found.inside == ()
