"""Arguments of `record`, and its way: gather, settle, read the bodies, write rows.

The running workers are not disturbed: no consumer group is joined and nothing is committed, and Redis is not touched.
What is matched is chosen by `stages.rule` among all that was read, since a complete log needs no waiting; the functions
in Redis would answer the same, but need a namespace, a flow control and a worker's clock for it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.errors import ConfigError
from worker.numbers import count, duration_us, rate
from worker.records import MatchRule

if TYPE_CHECKING:
    from worker.broker.reader import CommittedReader
    from worker.config import Settings
    from worker.recording.gather import Anchor, Gathered
    from worker.recording.rows import Written
    from worker.recording.told import Told

Say = Callable[[str], None]
Stopped = Callable[[], bool]

TELL_EVERY_SECONDS = 2.0
# How often it is looked whether `--limit` is reached: each look asks all anchors that are open.
SETTLE_EVERY_SECONDS = 0.3
# Context that was produced so much earlier than `--since` may still belong to the first anchors.
SLACK_MS = 60_000
DEFAULT_SPLIT = "train=0.8,dev=0.1,test=0.1"
UNLABELLED = "unlabelled"


def add_record_arguments(parser: ArgumentParser) -> None:
    """What `record` takes."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for rows and bodies; it is made")
    parser.add_argument("--seconds", type=rate, metavar="N", help="record for so long (default: what is there now)")
    parser.add_argument("--limit", type=count, metavar="N", help="record until so many rows are complete")
    parser.add_argument(
        "--since", type=duration_us, metavar="DURATION", help="begin so long ago (default: all of the log)"
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--label-from", choices=("results", "labels"), help="results: the published label; labels: what people answered"
    )
    labels.add_argument("--label-attribute", metavar="NAME", help="the string field NAME of a JSON anchor")
    parser.add_argument(
        "--new-label", action="append", default=[], metavar="LABEL",
        help="take this answer although no result knows it; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--uncertain", type=count, metavar="N", help="of the rows without a label only the N most worth labelling"
    )
    parser.add_argument(
        "--split", type=_shares, default=DEFAULT_SPLIT, metavar="NAME=SHARE,...",
        help=f"a file each, divided by key (default {DEFAULT_SPLIT})",
    )  # fmt: skip


def _shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = -1.0
        if not (name.isascii() and name.isalpha() and name != UNLABELLED and 0 <= shares[name] <= 1):
            raise ArgumentTypeError(f"{part.strip()!r} is not NAME=SHARE with a share from 0 to 1, such as dev=0.1")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ArgumentTypeError(f"the shares of {text!r} sum to {sum(shares.values()):g}; they must sum to 1")
    return shares


def record(settings: Settings, chosen: Namespace, say: Say) -> int:
    """Records; 0 when the rows are written, also after Ctrl-C.

    Raises:
        ConfigError: a topic is missing, or the folder holds rows already.
    """
    from worker.connect import topics_of
    from worker.from_settings import rules_of, validator_of
    from worker.ops.clock import SystemClock
    from worker.recording.files import write_files
    from worker.recording.gather import Gathered
    from worker.recording.told import Told

    _check_arguments(settings, chosen)
    _check_out(chosen.out, chosen.split)
    told = Told(
        settings.anchor, settings.output.topic, settings.review.labels, label_from=chosen.label_from,
        whole=chosen.uncertain is not None, new=frozenset(chosen.new_label),
    )  # fmt: skip
    topics = [*settings.topics, *told.topics]
    connection = topics_of(settings, topics)
    gathered = Gathered(validator_of(settings, SystemClock()), rules_of(settings), settings.anchor, told)
    with _ctrl_c() as stopped:
        _gather(connection, topics, _since_ms(settings, chosen, gathered.rules), gathered, chosen, stopped, say)
    left = 0 if chosen.limit is not None and len(gathered.ready) >= chosen.limit else gathered.end()
    ready, notes = gathered.ready[: chosen.limit], dict[Any, Any]()
    if chosen.uncertain is not None:
        ready, notes = _worth_labelling(ready, gathered.told, chosen.uncertain, say)
    if settings.privacy.enabled:
        say("bodies are written as [privacy] masks them; what cannot be masked is counted as deleted")
    written = _write(settings, connection, ready, gathered, chosen, say)
    write_files(written, notes, gathered, left, chosen, say)
    return 0


def _check_arguments(settings: Settings, chosen: Namespace) -> None:
    if chosen.label_from == "labels" and settings.review.labels is None:
        raise ConfigError("--label-from labels: name the topic of the answers in review.labels")
    if chosen.new_label and chosen.label_from != "labels":
        raise ConfigError("--new-label: has an effect with --label-from labels alone")
    if chosen.uncertain is not None and (chosen.limit or chosen.label_attribute or chosen.label_from == "results"):
        raise ConfigError("--uncertain: goes alone or with --label-from labels, and without --limit")


def _check_out(out: Path, shares: Mapping[str, float]) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    if there := [name for name in (*shares, UNLABELLED) if (out / f"{name}.jsonl").exists()]:
        raise ConfigError(f"--out {out}: holds {there[0]}.jsonl already; name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from error


def _since_ms(settings: Settings, chosen: Namespace, rules: Mapping[str, MatchRule]) -> dict[str, int]:
    """Per topic the record time from which on it is read; empty: from its beginning."""
    if chosen.since is None:
        return {}
    begin = time.time_ns() // 1_000_000 - chosen.since // 1000
    spans = {name: SLACK_MS + (rule.before_us + rule.lateness_us) // 1000 for name, rule in rules.items()}
    streams = {stream.topic: begin - spans.get(name, 0) for name, stream in settings.streams.items()}
    outcomes = [settings.output.topic, *([settings.review.labels] if settings.review.labels else [])]
    return {**streams, **dict.fromkeys(outcomes, begin)}


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Stopped]:
    """While it lasts the first Ctrl-C or SIGTERM asks to stop; the second one ends the command."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: object) -> None:
        asked.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gather(
    connection: Mapping[str, Any], topics: list[str], since_ms: Mapping[str, int], gathered: Gathered,
    chosen: Namespace, stopped: Stopped, say: Say,
) -> None:  # fmt: skip
    from worker.broker.reader import CommittedReader

    asked = {topic: at for topic, at in since_ms.items() if topic in topics}
    with contextlib.closing(CommittedReader(connection, topics, asked)) as reader:
        is_over = _is_over(reader, gathered, chosen)
        told_at = time.monotonic()
        while not stopped() and not is_over():
            gathered.add(reader.read(0.2))
            if time.monotonic() - told_at >= TELL_EVERY_SECONDS:
                told_at = time.monotonic()
                gathered.settle()
                read = ", ".join(f"{number} {stream}" for stream, number in sorted(gathered.read.items()))
                say(f"read {read or 'nothing yet'}; {len(gathered.ready)} rows complete")
    gathered.settle()
    if stopped():
        say("interrupted: what was read so far is written; once more ends without")


def _is_over(reader: CommittedReader, gathered: Gathered, chosen: Namespace) -> Callable[[], bool]:
    """When reading ends: after `--seconds`, or with `--limit` rows, or else where the log ends now."""
    deadline = None if chosen.seconds is None else time.monotonic() + chosen.seconds
    ends = reader.ends() if chosen.seconds is None and chosen.limit is None else None
    settled_at = [time.monotonic()]

    def is_over() -> bool:
        if ends is not None:
            return reader.reached(ends)
        now = time.monotonic()
        if chosen.limit is not None and now - settled_at[0] >= SETTLE_EVERY_SECONDS:
            settled_at[0] = now
            gathered.settle()
            if len(gathered.ready) >= chosen.limit:
                return True
        return deadline is not None and now >= deadline

    return is_over


def _worth_labelling(ready: list[Anchor], told: Told, number: int, say: Say) -> tuple[list[Anchor], dict[Any, Any]]:
    """Those that a person has labelled, then those that are most worth it; of these, by place, what results say."""
    from worker.recording.uncertain import pick

    results = told.results.by_name
    labelled = [anchor for anchor in ready if told.label(anchor) is not None]
    others = [anchor for anchor in ready if told.label(anchor) is None]
    candidates = [(anchor, results[anchor.result]) for anchor in others if anchor.result in results]
    picked, by_distance = pick(candidates, [results[a.result] for a in labelled if a.result in results], number)
    how = "margin and distance of embeddings" if by_distance else (
        "margin alone, since not all carry an embedding of one length ([output] embedding = true)"
    )  # fmt: skip
    say(f"picked {len(picked)} of {len(candidates)} rows that have a result and no label, by {how}; "
        f"without a result: {len(others) - len(candidates)}")  # fmt: skip
    return labelled + picked, {
        anchor.place: {"id": anchor.result[0], "label": told_.label, "margin": round(told_.margin, 4)}
        for anchor, told_ in ((anchor, results[anchor.result]) for anchor in picked)
    }


def _write(
    settings: Settings, connection: Mapping[str, Any], ready: list[Anchor], gathered: Gathered, chosen: Namespace,
    say: Say,
) -> Written:  # fmt: skip
    from worker.broker.log import LogReader
    from worker.from_settings import masker_of, validator_of
    from worker.ops.clock import SystemClock
    from worker.recording.rows import BODIES, Bodies, chosen_of, read_bodies, rows_of

    (chosen.out / BODIES).mkdir(parents=True, exist_ok=True)
    bodies, matched = Bodies(chosen.out), chosen_of(gathered, ready)
    modalities = {name: stream.modality for name, stream in settings.streams.items()}
    told_at = [time.monotonic()]

    def tick(done: int, wanted: int) -> None:
        if time.monotonic() - told_at[0] >= TELL_EVERY_SECONDS:
            told_at[0] = time.monotonic()
            say(f"read {done} of {wanted} bodies")

    validator = validator_of(settings, SystemClock(), masker_of(settings, before_model=True))
    with contextlib.closing(LogReader(connection)) as log:
        read_bodies(log, validator, matched, bodies, modalities, chosen.label_attribute, tick)
    return rows_of(matched, bodies, gathered.told.usable_label, modalities, settings.anchor, gathered.rules)
