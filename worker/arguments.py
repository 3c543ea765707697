"""What each command takes, as far as the command has no module of its own for it."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from worker.addresses import MOST_PORT
from worker.numbers import count, duration_us, rate, seed, share_or_all, speed, whole


def no_more(_: ArgumentParser) -> None:
    """The command takes the common arguments only."""


def add_settings(parser: ArgumentParser, set_name: str, defaults: dict[str, object]) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file; docs/configuration.md has its keys",
        default=defaults.get("config", SUPPRESS),
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", metavar="SECTION.KEY=VALUE", help="one setting; repeatable, the last word",
        dest=set_name, default=defaults.get(set_name, SUPPRESS),
    )  # fmt: skip
    add_debug(parser, defaults)


def add_debug(parser: ArgumentParser, defaults: dict[str, object]) -> None:
    default = defaults.get("debug", SUPPRESS)
    parser.add_argument("--debug", action="store_true", default=default, help="show where an error came from")


def add_check(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="show also the settings that are at their defaults")


def add_topics(parser: ArgumentParser) -> None:
    parser.add_argument("--partitions", type=count, default=4, help="of each new topic (default 4)")
    parser.add_argument("--replication-factor", type=count, default=1, help="of each new topic (default 1)")


def add_feed(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--story", choices=("junction", "sumo", "home", "household"), default="junction",
        help="junction: frames and texts (default); sumo: frames, loops and texts of a junction that SUMO simulates; "
        "home: sounds, sensors and texts; household: the same, of people in rooms",
    )  # fmt: skip
    _add_town(parser, "--junctions", "--homes")
    parser.add_argument("--frames-per-second", type=rate, help="of each camera of a junction (default 5)")
    parser.add_argument("--texts-per-second", type=rate, help="of each junction (default 1)")
    parser.add_argument(
        "--speed", type=speed, default=1.0, help="1: real time (default), 2: twice as fast, 0: as fast as possible"
    )
    _add_faults(parser)
    kinds = parser.add_subparsers(metavar="KIND", dest="kind", help="a live source in place of a story")
    for kind, add, what in (
        ("video", _add_video, "frames of cameras, devices, video files and folders of pictures"),
        ("mqtt", _add_mqtt, "messages of the MQTT broker of [feeds.mqtt], by preset or mapping"),
        ("kafka", _add_kafka, "records of other topics of the same Kafka, by preset or mapping"),
        ("onvif", _add_onvif, "events that ONVIF cameras tell"),
    ):
        one = kinds.add_parser(kind, help=f"{what} (docs/feeds.md)", description=f"{what[0].upper()}{what[1:]}.")
        add(one)
        add_settings(one, "set_last", {})


def _add_faults(parser: ArgumentParser) -> None:
    """What goes wrong on the way, by the story's stream."""
    told = (
        ("--lose", "SHARE", share_or_all, "so many of its events never come, such as frames=0.1"),
        ("--late", "DURATION", duration_us, "its events are sent so much late, such as loops=2s"),
        ("--skew", "DURATION", _signed_us, "its clock is so far ahead, such as frames=1500ms or frames=-1s"),
    )
    for name, value, read, what in told:
        parser.add_argument(
            name, action="append", default=[], type=_by_stream(read), metavar=f"STREAM={value}",
            help=f"of a story: {what}; repeatable",
        )  # fmt: skip


def _by_stream(read: Callable[[str], float]) -> Callable[[str], tuple[str, float]]:
    def pair(text: str) -> tuple[str, float]:
        stream, sign, value = text.partition("=")
        if not sign:
            raise ArgumentTypeError(f"{text!r} is not STREAM=VALUE")
        return stream, read(value)

    return pair


def _signed_us(text: str) -> int:
    return -duration_us(text[1:]) if text.startswith("-") else duration_us(text)


def _add_video(parser: ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="+", metavar="[KEY=]SOURCE",
        help="rtsp://..., /dev/video0, a file, or a folder of pictures or clips; ${NAME} is taken from the environment",
    )  # fmt: skip
    parser.add_argument(
        "--key", type=not_empty, help="of the events of a single source; default: the source's own name"
    )
    parser.add_argument("--stream", help="configured stream; default: the first of images")
    parser.add_argument("--rate", type=rate, help="frames a second at most (default: all; of pictures 1)")
    parser.add_argument("--size", type=count, metavar="PIXELS", help="width at most; the shape is kept")
    parser.add_argument("--quality", type=whole(1, 100), default=85, help="of JPEG, 1 to 100 (default 85)")
    parser.add_argument(
        "--motion", type=rate, metavar="LEVELS",
        help="send a frame only if its 32x32 grey thumbnail differs by so many of 255 levels on average (try 2), or "
        "after 10 s",
    )  # fmt: skip
    parser.add_argument("--loop", action="store_true", help="begin a file or folder again at its end")
    parser.add_argument("--start", type=_moment, metavar="TIME", help="when a file began, such as 2026-01-01T12:00:00Z")
    parser.add_argument(
        "--speed", type=speed, default=1.0, help="of a file: 1: real time (default), 0: as fast as possible"
    )
    parser.add_argument(
        "--hold", type=duration_us, default=6_000_000, metavar="DURATION",
        help="how long the first frames wait for the sender's clock (default 6s)",
    )  # fmt: skip
    _add_http_port(parser)


def _add_onvif(parser: ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="*", metavar="[KEY=]SOURCE",
        help="http://HOST:PORT of a camera, user and password before the host; ${NAME} is taken from the environment",
    )  # fmt: skip
    _add_messages(parser)


def _add_mqtt(parser: ArgumentParser) -> None:
    _add_messages(parser)
    parser.add_argument("--base", metavar="TOPIC", help="where the topics begin; default: that of the mapping")


def _add_kafka(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from", action="append", default=[], metavar="TOPIC", dest="source", help="topic to read; repeatable"
    )
    _add_messages(parser)


def _add_messages(parser: ArgumentParser) -> None:
    parser.set_defaults(base=None)
    parser.add_argument("--preset", metavar="NAME", help="a mapping that ships; docs/feeds.md has them")
    parser.add_argument("--mapping", metavar="FILE", help="a mapping of your own, TOML")
    parser.add_argument("--show", action="store_true", help="print the mapping, to begin one of your own, and end")
    parser.add_argument(
        "--check", type=Path, metavar="FILE",
        help="say what each field of a sample of messages becomes, and end; a line each: TOPIC PAYLOAD, or JSON",
    )  # fmt: skip
    parser.add_argument("--key", type=not_empty, help="of all events; default: as the mapping says")
    parser.add_argument(
        "--stream", action="append", default=[], metavar="NAME",
        help="configured stream; repeatable; default: the first of each modality",
    )  # fmt: skip
    _add_http_port(parser)


def _add_http_port(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--http-port",
        type=whole(0, MOST_PORT),
        default=0,
        help="of /metrics, /livez, /readyz (default 0: any free one, logged)",
    )


def add_demo(parser: ArgumentParser) -> None:
    _add_town(parser, "--junctions")
    parser.add_argument("--workers", type=count, default=2, help="workers (default 2)")
    parser.add_argument("--kill", action="store_true", help="kill a worker with SIGKILL on the way")
    parser.add_argument(
        "--keep", action="store_true", help="go on until Ctrl-C, for those who look at the workers' pages"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where Kafka is kept (default .cache)")


def _add_town(parser: ArgumentParser, *names: str) -> None:
    parser.add_argument(*names, type=count, default=6, help="how many, each a key (default 6)")
    parser.add_argument("--seconds", type=rate, default=30.0, help="length of the story (default 30)")
    parser.add_argument("--seed", type=seed, default=0, help="the same seed tells the same story (default 0)")


def add_replay(parser: ArgumentParser) -> None:
    stages = ("VALIDATE", "ALIGN", "DECODE", "MODEL", "PUBLISH")
    parser.add_argument("--stage", choices=stages, help="only dead letters of this stage")
    parser.add_argument("--limit", type=count, metavar="N", help="at most so many, the oldest first")
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent; change nothing")


def not_empty(text: str) -> str:
    if text:
        return text
    raise ArgumentTypeError("is empty; give a text")


def _moment(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-01-01T12:00:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)
