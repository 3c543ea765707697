"""Arguments -> settings -> one command -> exit code (CONTRACT section 6).

Each command imports what it needs when it runs: `--help` and a wrong key are answered before torch is even looked for.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from worker.arguments import add_check, add_debug, add_demo, add_feed, add_replay, add_settings, add_topics, no_more
from worker.errors import ConfigError, Fatal, FusionError
from worker.redaction import without_secrets
from worker.text_files import is_utf8

if TYPE_CHECKING:
    from worker.settings import Loaded

PROGRAM = "fusion-worker"
INTERRUPTED = 130  # 128 + SIGINT, as shells tell it.
_EXIT_CODES = (
    "exit codes: 0 done, or drained after SIGTERM or Ctrl-C; 1 an error not listed here; 2 bad usage or configuration; "
    "3 Kafka or Redis not reached; 4 too many dead letters"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; `{self.prog} --help` shows what there is")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the process's exit status.

    Errors are one line on stderr, unforeseen ones by `sys.excepthook` (status 1); `--debug` shows their traces.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    sys.excepthook = _traced if debug else _unforeseen
    threading.excepthook = _in_thread
    try:
        return _command(given)
    except FusionError as error:
        if debug:
            raise
        _tell(str(error))
        return error.exit_code if isinstance(error, Fatal) else 1
    except KeyboardInterrupt:
        if debug:
            raise
        _tell("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; the flush at exit must not complain about that again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _command(given: Sequence[str]) -> int:
    if odd := [str(number) for number, one in enumerate(given, 1) if not is_utf8(one)]:
        raise ConfigError(f"argument {', '.join(odd)}: is not UTF-8; keys, names and texts are")
    parser = _parser()
    chosen = parser.parse_args(given)
    if chosen.run is None:
        parser.print_help(sys.stderr)
        return 2
    chosen.overrides = [*chosen.set_before, *getattr(chosen, "set_after", ()), *getattr(chosen, "set_last", ())]
    if not chosen.configured and (chosen.config or chosen.overrides):
        raise ConfigError(f"--config and --set have no effect on `{PROGRAM} {chosen.command}`")
    chosen.given = given[given.index(chosen.command) + 1 :]
    code: int = chosen.run(chosen)
    sys.stdout.flush()
    return code


def _unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _tell(f"unexpected {kind.__name__}: {error}; --debug shows where")


def _tell(message: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {' '.join(without_secrets(message).split())}\n")


def _traced(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace))))


def _in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None:
        sys.excepthook(told.exc_type, told.exc_value, told.exc_traceback)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _loaded(chosen: argparse.Namespace) -> Loaded:
    from worker.settings import load

    return load(chosen.config, chosen.overrides, os.environ)


def _run(chosen: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _nothing_to_drain)
    settings = _loaded(chosen).settings
    from worker.assemble import run

    given = [f"--config={chosen.config}"] if chosen.config else []
    given += [f"--set={one}" for one in chosen.overrides]
    return run(settings, [sys.executable, "-m", "worker", "explain", *given])


def _nothing_to_drain(*_: object) -> NoReturn:
    """A signal before the worker is made: nothing was read."""
    raise SystemExit(0)


def _check(chosen: argparse.Namespace) -> int:
    from worker.check import check

    return check(_loaded(chosen), _say, everything=chosen.all)


def _topics(chosen: argparse.Namespace) -> int:
    from worker.check import create

    return create(_loaded(chosen).settings, chosen.partitions, chosen.replication_factor, _say)


def _feed(chosen: argparse.Namespace) -> int:
    settings = _loaded(chosen).settings
    from worker.feeding import feed

    return feed(settings, chosen, _say)


def _replay(chosen: argparse.Namespace) -> int:
    settings = _loaded(chosen).settings
    from worker.broker.options import connection_options
    from worker.broker.replay import STAGES, Plan, replay
    from worker.from_settings import masker_of, validator_of
    from worker.ops.clock import SystemClock

    mask = masker_of(settings, before_model=True)
    plan = Plan(
        settings.output.dead_letter_topic,
        tuple(stream.topic for stream in settings.streams.values()),
        f"{settings.kafka.group_id}-replay",
        settings.kafka.startup_timeout.total_seconds(),
        settings.delivery.commit_timeout.total_seconds(),
        None if mask is None else validator_of(settings, SystemClock(), mask).masked,
    )
    connection = connection_options(settings.kafka.model_dump())
    stages = STAGES if chosen.stage is None else (chosen.stage,)
    done = replay(connection, plan, stages=stages, limit=chosen.limit, dry_run=chosen.dry_run, say=_say)
    _say(f"{'would send' if chosen.dry_run else 'sent'} {done.sent} back, passed over {done.skipped}")
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from worker.demo.run import demo

    return demo(
        chosen.cache, seconds=chosen.seconds, workers=chosen.workers, junctions=chosen.junctions, kill=chosen.kill,
        json_path=chosen.json, seed=chosen.seed, keep=chosen.keep,
    )  # fmt: skip


def _train(chosen: argparse.Namespace) -> int:
    from worker.training.command import train

    return train(chosen)


def _tune(chosen: argparse.Namespace) -> int:
    from worker.training.command import tune

    return tune(chosen)


def _evaluate(chosen: argparse.Namespace) -> int:
    from worker.training.command import evaluate

    return evaluate(chosen)


def _export(chosen: argparse.Namespace) -> int:
    from worker.exporting.command import export

    return export(chosen)


def _explain(chosen: argparse.Namespace) -> int:
    settings = _loaded(chosen).settings
    from worker.explain.command import explain

    return explain(settings, chosen, _say)


def _record(chosen: argparse.Namespace) -> int:
    settings = _loaded(chosen).settings
    from worker.recording.command import record

    return record(settings, chosen, _say)


def _review(chosen: argparse.Namespace) -> int:
    settings = _loaded(chosen).settings
    from worker.recording.review import review

    return review(settings, chosen, _say)


def _sink(chosen: argparse.Namespace) -> int:
    settings = _loaded(chosen).settings
    from worker.sinks.command import sink

    return sink(settings, chosen, _say)


def _init(chosen: argparse.Namespace) -> int:
    from worker.starting import init

    return init(chosen, _say)


def _forget(chosen: argparse.Namespace) -> int:
    settings = _loaded(chosen).settings
    from worker.forget import forget

    return forget(settings, chosen.key, _say)


def _parser() -> _Parser:
    parser = _Parser(PROGRAM, description="Events of many streams in, one verdict per anchor out.", epilog=_EXIT_CODES)
    parser.set_defaults(run=None, configured=False, command=None)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {_version()}")
    add_settings(parser, "set_before", {"config": None, "set_before": [], "debug": False})
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for name, run, configured, add, what in _table():
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        command.set_defaults(run=run, configured=configured)
        add(command)
        if configured:
            add_settings(command, "set_after", {})
        else:
            add_debug(command, {})
    return parser


def _table() -> list[_Row]:
    from worker.explain.command import add_explain_arguments
    from worker.exporting.command import add_export_arguments
    from worker.forget import add_forget_arguments
    from worker.recording.command import add_record_arguments
    from worker.recording.review import add_review_arguments
    from worker.sinks.command import add_sink_arguments
    from worker.starting import add_init_arguments
    from worker.training.command import add_evaluate_arguments, add_train_arguments, add_tune_arguments

    return [
        ("init", _init, False, add_init_arguments, "write a commented configuration to begin with"),
        ("run", _run, True, no_more, "run one worker until SIGTERM or Ctrl-C"),
        ("check", _check, True, add_check, "show the settings in force and reach Kafka, Redis and the model"),
        ("topics", _topics, True, add_topics, "create the topics of the configuration"),
        ("demo", _demo, False, add_demo, "start Kafka, Redis, a feed and workers, and show results"),
        ("feed", _feed, True, add_feed, "send a simulated junction or home, or what a camera sees"),
        ("replay", _replay, True, add_replay, "send dead letters back to the topic they came from"),
        ("explain", _explain, True, add_explain_arguments, "rebuild one anchor's verdict from the log, and say why"),
        ("record", _record, True, add_record_arguments, "write a folder to train on from the live topics"),
        ("forget", _forget, True, add_forget_arguments, "delete what Redis knows of a key"),
        ("review", _review, True, add_review_arguments, "show what waits for a person, or answer it"),
        ("sink", _sink, True, add_sink_arguments, "deliver results to MQTT, a webhook, Parquet files or a database"),
        ("train", _train, False, add_train_arguments, "train a model"),
        ("tune", _tune, False, add_tune_arguments, "search for the settings to train with, and train with the best"),
        ("evaluate", _evaluate, False, add_evaluate_arguments, "measure a model on held-out data"),
        ("export", _export, False, add_export_arguments, "make a model smaller and faster, unless that costs accuracy"),
    ]


_Command = Callable[[argparse.Namespace], int]
# Name, what runs it, whether it reads the configuration, what adds its arguments, what it does.
_Row = tuple[str, _Command, bool, Callable[[_Parser], None], str]


def _version() -> str:
    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "(not installed)"
