"""The settings, users and rights that the cases of this folder share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.broker.rights import Right, least_rights
from worker.check import _kafka as ask_kafka
from worker.check import ask_all
from worker.config import Settings
from worker.from_settings import needs_of

GROUP = "secured"
IN = ("secured.texts", "secured.frames")
OUT = ("secured.fusions", "secured.dead", "secured.review")
# One for every right that may be missing.
MOST_RIGHTS = 7
USERS = ("least", "nothing", *(f"without{number}" for number in range(MOST_RIGHTS)))


def settings(kafka: Mapping[str, Any], **sections: Any) -> Settings:
    """A worker's settings, with a short patience."""
    return Settings.model_validate(
        {
            "kafka": {"group_id": GROUP, "startup_timeout": "20s", **kafka},
            "streams": {
                "texts": {"topic": IN[0], "modality": "text", "role": "anchor"},
                "frames": {"topic": IN[1], "modality": "image", "role": "context"},
            },
            "output": {"topic": OUT[0], "dead_letter_topic": OUT[1]},
            "review": {"topic": OUT[2]},
            "http": {"port": 0},
            "log": {"format": "json"},
            **sections,
        }
    )


def least(given: Settings) -> list[Right]:
    """What docs/security.md shows."""
    return least_rights(needs_of(given))


def without_each(rights: Sequence[Right]) -> dict[str, list[Right]]:
    """User -> all rights but one, the number of which is in the user's name."""
    return {f"without{gone}": [one for n, one in enumerate(rights) if n != gone] for gone in range(len(rights))}


def told(kafka: Mapping[str, Any], **sections: Any) -> tuple[int, str]:
    """`check`'s exit code and line about Kafka, from the very question that it asks."""
    answer = ask_all({"kafka": (ask_kafka, 60.0)}, settings(kafka, **sections))["kafka"]
    return answer.exit_code, answer.line


def table() -> str:
    """The rights of docs/security.md, as rows of its table: those of the default streams, with `[review]` set."""
    given = Settings.model_validate({"review": {"topic": "review", "labels": "labels"}})
    return "\n".join(f"| {one.operation} | {one.resource} | {one.pattern} | `{one.name}` |" for one in least(given))
