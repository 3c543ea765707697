"""Settings and what brokers and Redis tell of themselves -> findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from worker.config import Settings
from worker.durations import format_duration, micros
from worker.findings.finding import Finding, could_not_look, error, note, warning

# Where clocks are set by NTP they differ by some milliseconds. Events are held against this machine's (`max_ahead`),
# and members of one pool against each other's.
MOST_CLOCK_US = 500_000
# A commit's metadata take up to 4,096 bytes: finished offsets and the dead letters' tally.
METADATA_BYTES = 4_096
# A group that nobody has run for longer begins anew; a weekend is not worth a thought.
LEAST_OFFSETS_MINUTES = 3 * 24 * 60

Brokers = Mapping[str, Mapping[str, str]]


def of_brokers(settings: Settings, brokers: Brokers | None) -> list[Finding]:
    """`brokers`: name -> its configuration; None: the cluster does not let this user see it."""
    if brokers is None:
        return [could_not_look("the brokers' limits", "DESCRIBE_CONFIGS on the cluster")]
    found = (each for name, told in brokers.items() for each in _of_broker(settings, name, told))
    return list(found)


def _of_broker(settings: Settings, name: str, told: Mapping[str, str]) -> Iterator[Finding]:
    def number(key: str) -> int | None:
        return int(told[key]) if told.get(key, "").isdigit() else None

    session = settings.kafka.session_timeout
    least, most = number("group.min.session.timeout.ms"), number("group.max.session.timeout.ms")
    if least is not None and most is not None and not least * 1000 <= micros(session) <= most * 1000:
        yield error(
            f"kafka.session_timeout = {format_duration(session)} is not from {least} to {most} ms, which broker {name} "
            "takes (group.min.session.timeout.ms, group.max.session.timeout.ms)",
            "change the one or the other",
        )
    most = number("offset.metadata.max.bytes")
    if most is not None and most < METADATA_BYTES:
        yield warning(
            f"broker {name}: offset.metadata.max.bytes is {most}, less than {METADATA_BYTES}: a commit whose finished "
            "offsets lie far apart is refused",
            f"set it to {METADATA_BYTES}",
        )
    minutes = number("offsets.retention.minutes")
    if minutes is not None and minutes < LEAST_OFFSETS_MINUTES:
        yield warning(
            f"broker {name}: offsets.retention.minutes is {minutes}: a group that nobody has run for so long has lost "
            "its place and begins by kafka.auto_offset_reset",
            f"set it to {LEAST_OFFSETS_MINUTES} or more",
        )


def of_redis(memory: Sequence[Mapping[str, object]]) -> list[Finding]:
    """`memory`: what INFO tells of each server. One that evicts is refused before."""
    told = memory[0]
    policy, most = told.get("maxmemory_policy"), told.get("maxmemory")
    if policy is None or most is None:
        return [note(
            "Redis does not tell its maxmemory-policy; with any other than noeviction verdicts are made from what is "
            "left", "see to it that it is noeviction",
        )]  # fmt: skip
    if any(each.get("maxmemory_policy") != "noeviction" for each in memory):
        odd = next(each["maxmemory_policy"] for each in memory if each.get("maxmemory_policy") != "noeviction")
        return [warning(
            f"Redis: maxmemory-policy is {odd}, and takes effect as soon as somebody sets a maxmemory: then it evicts "
            "events that are matched, and `run` refuses to start", "set it to noeviction",
        )]  # fmt: skip
    if not all(int(str(each.get("maxmemory", 0))) for each in memory):
        return [note(
            "Redis: maxmemory is not set: it grows to what the machine has, and is killed there",
            "set it to half of that, so that a full Redis slows reading down instead",
        )]  # fmt: skip
    return []


def of_clocks(ahead_us: int, unsure_us: int) -> list[Finding]:
    """How far Redis' clock is ahead of this machine's, and by how much that may be wrong, in microseconds."""
    if abs(ahead_us) - unsure_us <= MOST_CLOCK_US:
        return []
    way = "behind" if ahead_us > 0 else "ahead of"
    return [warning(
        f"this machine's clock is {abs(ahead_us) / 1e6:.3g} s {way} that of Redis: [limits] max_ahead and waits are "
        "measured by a clock that is wrong, here or there", "set both by NTP",
    )]  # fmt: skip
