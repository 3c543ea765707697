"""Headers of a dead letter; key, value and the other headers are the record's own (CONTRACT section 3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas import names

Digits = Annotated[str, Field(pattern=r"^[0-9]+$")]


class DeadLetterHeaders(BaseModel):
    """What is added to a record on its way to the dead-letter topic, as Kafka Connect names it."""

    model_config = ConfigDict(extra="allow", title="DeadLetterHeaders")

    topic: str = Field(alias=names.ERRORS_TOPIC, min_length=1, description="Topic the record was read from.")
    partition: Digits = Field(alias=names.ERRORS_PARTITION, description="Partition it was read from.")
    offset: Digits = Field(alias=names.ERRORS_OFFSET, description="Offset it was read from.")
    stage: Literal["VALIDATE", "ALIGN", "DECODE", "MODEL", "PUBLISH"] = Field(
        alias=names.ERRORS_STAGE, description="The step that refused it."
    )
    exception_class: str = Field(alias=names.ERRORS_CLASS, min_length=1, description="Kind of the error.")
    exception_message: str = Field(
        alias=names.ERRORS_MESSAGE, max_length=1000, description="What was given, the limit and the remedy."
    )
    attempts: Digits = Field(alias=names.ATTEMPTS, description="How often the record became a dead letter.")
    timestamp: Annotated[str, Field(pattern=r"^-?[0-9]+$")] = Field(
        alias=names.TIMESTAMP, description="The record's own timestamp, in milliseconds; -1: it had none."
    )
