"""What every section of the configuration is made of."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

TOPIC_FORM = "a topic name: 1 to 249 letters, digits, dots, underscores and hyphens"
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", json_schema_extra={"form": TOPIC_FORM})]


class Section(BaseModel):
    """A section of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)

    def idle_without(self, lead: str, what: str, *names: str) -> Self:
        """Raises ValueError where one of `names` is set and `lead`, which is `what`, is not."""
        for name in names if getattr(self, lead) is None else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect without {lead}, {what}")
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, about: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[str(about.field_name)].annotation is not bool:
            raise ValueError(f"{str(value).lower()} is a truth value")
        return value
