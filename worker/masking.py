"""The section `[privacy]` of the configuration."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from worker.sections import Section

ANY_CAMERA = "*"
_BOX = '["KEY", x, y, width, height] in parts of the picture, ["KEY"] for one with nothing to hide; KEY "*": any other'


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
    boxes: tuple[tuple[str | float, ...], ...] = Field(
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
            camera, *numbers = box
            if not isinstance(camera, str) or len(numbers) not in (0, 4) or any(isinstance(n, str) for n in numbers):
                raise ValueError(f"boxes: one is {list(box)}; it is {_BOX}")
            inside = all(math.isfinite(float(n)) and 0 <= float(n) <= 1 for n in numbers)
            if not inside or (numbers and 0 in [float(n) for n in numbers[2:]]):
                raise ValueError(f"boxes: one of {camera!r} has {numbers}; each is from 0 to 1, and no side is 0")
        given = [n for n, info in type(self).model_fields.items() if getattr(self, n) != info.default]
        if given and not self.enabled:
            raise ValueError(f"{given[0]} has no effect without enabled = true")
        return self

    def covers(self, stream: str) -> bool:
        """Whether a stream is masked."""
        return self.enabled and stream not in self.unmasked
