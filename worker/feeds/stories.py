"""The name of a story -> its streams and events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.errors import ConfigError
from worker.feeds import home, household, junction
from worker.feeds.story import FeedEvent
from worker.feeds.sumo import events as sumo


def story_of(
    name: str, seed: int, places: int, seconds: float, frames_per_second: float | None, texts_per_second: float | None
) -> tuple[Mapping[str, str], Iterator[FeedEvent]]:
    """Stream -> modality, and the events, of `junction`, `sumo`, `home`, `household`; a rate of None is its own.

    Raises:
        ConfigError: a rate is given for the home, whose devices have their own; SUMO is not installed.
    """
    if name == "junction":
        rates = (frames_per_second or 5.0, texts_per_second or 1.0)
        return junction.STREAMS, junction.junction_events(seed, places, seconds, *rates)
    if name == "sumo":
        rates = (frames_per_second or sumo.FRAMES_PER_SECOND, texts_per_second or sumo.TEXTS_PER_SECOND)
        return sumo.STREAMS, sumo.sumo_events(seed, places, seconds, *rates)
    if frames_per_second is not None or texts_per_second is not None:
        raise ConfigError("--frames-per-second and --texts-per-second are the junction's; a home has rates of its own")
    events = household.household_events if name == "household" else home.home_events
    return home.STREAMS, events(seed, places, seconds)
