"""The section `[privacy]` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from worker.sections import Section

ANY_CAMERA = "*"
_BOX = '["KEY", x, y, width, height] in parts of the picture, ["KEY"] for one with nothing to hide; KEY "*": any other'
# Of decimal fractions whose sum is 1, as doubles.
_ROUNDING = 1e-9
# No truth values: they would be 0 and 1.
_Number = Annotated[float, Field(strict=True)]


class Privacy(Section):
    """What is masked of personal data, in every place but Kafka's own topics (docs/privacy.md)."""

    enabled: bool = Field(False, description="true: every stream is masked, and what cannot be masked is refused.")
    texts: tuple[Literal["email", "card", "phone", "plate"], ...] = Field(
        ("email", "card", "phone", "plate"),
        description="What is masked in texts and in the words of readings.",
        json_schema_extra={"form": 'a list of "email", "card", "phone", "plate"'},
    )
    names: str | None = Field(
        None, description="File of names that are masked too, one a line.", json_schema_extra={"form": "a file's path"}
    )
    faces: bool = Field(False, description="true: faces are looked for in pictures (extra `privacy`).")
    boxes: tuple[tuple[str | _Number, ...], ...] = Field(
        (),
        description="Parts of pictures that are hidden, by the key of the events; a camera without one is refused "
        "unless faces = true.",
        json_schema_extra={"form": f"a list of {_BOX}"},
    )
    style: Literal["fill", "blur"] = Field("fill", description="What is put over a box or a face.")
    unmasked: tuple[str, ...] = Field(
        (),
        description="Streams that are left as they are; one of sounds must be, since nothing masks them.",
        json_schema_extra={"form": "a list of names of streams"},
    )
    before_model: bool = Field(
        True, description="true: the model sees what is masked; false: it alone sees bodies as they came."
    )

    @model_validator(mode="after")
    def _fits(self) -> Privacy:
        for box in self.boxes:
            _ensure_box(box)
        hidden = {box[0] for box in self.boxes if len(box) > 1}
        if both := [camera for (camera, *numbers) in self.boxes if not numbers and camera in hidden]:
            raise ValueError(
                f"boxes: {both[0]!r} stands alone, as one with nothing to hide, and has a box; say one of it"
            )
        given = [n for n, info in type(self).model_fields.items() if getattr(self, n) != info.default]
        if given and not self.enabled:
            raise ValueError(f"{given[0]} has no effect without enabled = true")
        return self

    def covers(self, stream: str) -> bool:
        """Whether a stream is masked."""
        return self.enabled and stream not in self.unmasked


def _ensure_box(box: tuple[str | float, ...]) -> None:
    """Raises ValueError: it is none, or no part of it lies within the picture: nothing would be hidden by it."""
    camera, numbers = box[:1], [n for n in box[1:] if not isinstance(n, str)]
    if not camera or not isinstance(camera[0], str) or len(numbers) != len(box) - 1 or len(numbers) not in (0, 4):
        raise ValueError(f"boxes: one is {list(box)}; it is {_BOX}")
    if not numbers:
        return
    x, y, width, height = numbers
    begins, has_sides = 0 <= x < 1 and 0 <= y < 1, width > 0 and height > 0
    if not (begins and has_sides and x + width <= 1 + _ROUNDING and y + height <= 1 + _ROUNDING):
        raise ValueError(
            f"boxes: one of {camera[0]!r} has {numbers}, which are x, y, width, height: x and y must be from 0 to "
            "below 1, width and height above 0, and x + width and y + height at most 1"
        )
