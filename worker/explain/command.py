"""Arguments of `explain`, and its way: anchor, match, verdict, what was published, and with --out the pictures."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.arguments import not_empty
from worker.errors import ConfigError, Fatal, Poison
from worker.numbers import duration_us, seed, whole
from worker.records import Aligned, MatchRule, Partition, Verdict

if TYPE_CHECKING:
    from worker.broker.log import LogReader
    from worker.config import Settings
    from worker.explain.trace import Traced
    from worker.model.runtime import ModelRuntime

Say = Callable[[str], None]

_MAY_DIFFER = (
    "the log does not tell how long the worker waited: max_wait, late events, bounds on what is kept and a retention "
    "that has passed may have made the live result differ"
)


def add_explain_arguments(parser: ArgumentParser) -> None:
    """What `explain` takes."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("place", type=_place, nargs="?", metavar="TOPIC/PARTITION/OFFSET", help="the anchor's record")
    which.add_argument(
        "--find", type=not_empty, metavar="TEXT", help="the anchor whose result or own id this is, or its key's newest"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write explanation.json and pictures there")
    parser.add_argument(
        "--slack", type=duration_us, default="1m", metavar="DURATION",
        help="how much earlier or later than the anchor a context record may have been produced (default 1m)",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="of the random deletions of --out (default 0)")


def _place(text: str) -> tuple[Partition, int]:
    topic, *numbers = text.rsplit("/", 2)
    if not topic or len(numbers) != 2:
        raise ArgumentTypeError(f"{text!r} is not TOPIC/PARTITION/OFFSET, such as texts/0/42")
    partition, offset = (whole(0, 2**bits - 1)(one) for bits, one in zip((31, 63), numbers, strict=True))
    return Partition(topic, partition), offset


def explain(settings: Settings, chosen: Namespace, say: Say) -> int:
    """Explains one anchor; 0 when it was told.

    Raises:
        ConfigError: no event is at that place, or the model cannot be loaded.
        Fatal: the record has no verdict; the message says why.
    """
    from worker.broker.admin import ensure_reachable
    from worker.broker.log import LogReader
    from worker.broker.options import connection_options
    from worker.explain.tell import anchor_lines, match_lines
    from worker.explain.trace import anchor_at, trace
    from worker.from_settings import masker_of, rules_of, validator_of
    from worker.ops.clock import SystemClock

    if settings.privacy.enabled and not settings.privacy.before_model:
        raise ConfigError("explain tells what the model saw, and privacy.before_model = false hides that; set it true")
    connection = connection_options(settings.kafka.model_dump())
    ensure_reachable(connection, settings.kafka.startup_timeout.total_seconds())
    _check_out(chosen.out)
    rules, validator = rules_of(settings), validator_of(settings, SystemClock(), masker_of(settings))
    with contextlib.closing(LogReader(connection)) as log:
        anchors = settings.streams[settings.anchor].topic
        anchor = anchor_at(log, validator, _wanted(settings, chosen, log, anchors), anchors)
        topics = {name: stream.topic for name, stream in settings.contexts.items()}
        traced = trace(log, validator, anchor, rules, topics, chosen.slack)
        _say_all(say, anchor_lines(anchor))
        for name, rule in rules.items():
            _say_all(say, match_lines(name, rule, traced))
        _check_required(traced, rules)
        _tell_verdict(settings, chosen, log, traced, say)
    return 0


def _wanted(settings: Settings, chosen: Namespace, log: LogReader, anchors: str) -> tuple[Partition, int]:
    from worker.explain.find import find_anchor

    if chosen.find is None:
        place: tuple[Partition, int] = chosen.place
        return place
    topics = settings.output.topic, settings.output.dead_letter_topic
    return find_anchor(log, chosen.find, settings.anchor, anchors, topics)


def _say_all(say: Say, lines: Any) -> None:
    for line in lines:
        say(line)


def _check_out(out: Path | None) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")


def _check_required(traced: Traced, rules: Mapping[str, MatchRule]) -> None:
    absent = next((name for name in sorted(traced.aligned.missing) if rules[name].required), None)
    if absent is not None:
        raise Fatal(
            f"{traced.anchor.record.place}: has no verdict, it is a dead letter (stage ALIGN, "
            f"{traced.aligned.missing[absent]}): stream {absent!r} is required and has no match"
        )


def _tell_verdict(settings: Settings, chosen: Namespace, log: LogReader, traced: Traced, say: Say) -> None:
    from worker.explain.tell import head_lines, rule_lines, verdict_lines

    model = _model(settings)
    aligned, item, verdict = _verdict(model, traced.aligned, say)
    _say_all(say, verdict_lines(verdict))
    _say_all(say, head_lines(verdict))
    ruled = _ruled(settings, aligned, verdict)
    _say_all(say, rule_lines(ruled))
    rebuilt, compared = _compare(settings, chosen, log, model, aligned, ruled, say)
    if chosen.out is not None:
        from worker.explain.files import write_explanation

        write_explanation(
            chosen.out, settings.model.path, settings.model.device, model.names, item, verdict,
            {"result": rebuilt, "published": compared, "assumption": _MAY_DIFFER}, chosen.seed, say,
            settings.model.trusted_key,
        )  # fmt: skip


def _ruled(settings: Settings, aligned: Aligned, verdict: Verdict) -> Verdict:
    from worker.ruling import rules_beside

    rules = rules_beside(settings)
    return verdict if rules is None else rules.ruled(aligned, verdict)


def _model(settings: Settings) -> ModelRuntime:
    from worker.assemble import model_of

    output = settings.output.model_copy(update={"embedding": False, "evidence": True})
    return model_of(settings.model_copy(update={"output": output}))


def _verdict(model: ModelRuntime, aligned: Aligned, say: Say) -> tuple[Aligned, Any, Verdict]:
    """As the worker does it: a context that cannot be decoded is left out; such an anchor is a dead letter."""
    from worker.stages.decode import undecodable, without

    while True:
        try:
            item = model.prepare(aligned)
            return aligned, item, model.infer([item])[0]
        except Poison as poison:
            if poison.stream is None or poison.stream not in aligned.inputs:
                raise Fatal(
                    f"{aligned.anchor.record.place}: has no verdict, it is a dead letter (stage {poison.stage}, "
                    f"{poison.reason}): {poison}"
                ) from poison
            say(f"{poison.stream}: what is matched is left out: {poison}")
            aligned = without(aligned, poison.stream, undecodable(aligned, poison.stream, poison))


def _compare(
    settings: Settings, chosen: Namespace, log: LogReader, model: ModelRuntime, aligned: Aligned, verdict: Verdict,
    say: Say,
) -> tuple[dict[str, Any], dict[str, Any] | None]:  # fmt: skip
    """The rebuilt result, as the worker writes it, beside the published one."""
    import json

    from worker.explain.published import differences, find_result
    from worker.from_settings import writer_of

    rebuilt = json.loads(writer_of(settings, model.info).result(aligned, verdict).value or b"{}")
    found = find_result(log, settings.output.topic, aligned.anchor, chosen.slack)
    if found is None:
        say(f"published: no result with id {rebuilt['id']} on {settings.output.topic} (any longer)")
        say(f"note: {_MAY_DIFFER}")
        return rebuilt, None
    lines = differences(found.body, rebuilt)
    if not lines:
        say(f"published at {found.place}: the same label and the same inputs")
    else:
        say(f"published at {found.place}: not the same")
        _say_all(say, (f"  {line}" for line in lines))
    say(f"note: {_MAY_DIFFER}")
    return rebuilt, {"place": found.place, "differences": lines, "result": dict(found.body)}
