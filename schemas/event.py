"""CloudEvents attributes of an incoming event (CONTRACT section 1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

Rfc3339 = Annotated[AwareDatetime, WithJsonSchema({"type": "string", "format": "date-time"})]
Filled = Annotated[str, Field(min_length=1)]


class EventHeaders(BaseModel):
    """Headers of an event in binary mode. Other `ce_*` headers are extensions and pass unread."""

    model_config = ConfigDict(extra="allow", title="EventHeaders")

    ce_specversion: Literal["1.0"] = Field(description="CloudEvents version.")
    ce_id: Filled = Field(description="With ce_source names the event; the same id and time is the same event.")
    ce_source: Filled = Field(description="Who made the event, such as /cameras/12.")
    ce_type: Filled = Field(description="What happened, such as frame.v1.")
    ce_time: Rfc3339 | None = Field(None, description="Event time; without it the record's timestamp counts.")
    content_type: Filled | None = Field(
        None, alias="content-type", description="Media type of the value; without it the first bytes tell."
    )
    traceparent: str | None = Field(None, description="W3C Trace Context, carried on to the result.")


class TextJson(BaseModel):
    """Body of a text with content type application/json; other fields are kept as attributes."""

    model_config = ConfigDict(extra="allow", title="TextJson")

    text: Filled = Field(description="The text itself.")


class SensorJson(BaseModel):
    """Body of a sensor reading: numbers by their names, each a number, null or a series of them, the last one newest.

    At least one field is of that kind; others pass unread. An object `values` may hold the numbers.
    """

    model_config = ConfigDict(extra="allow", title="SensorJson")

    values: dict[str, Any] | None = Field(None, description="The numbers, where they are not beside it.")


class StructuredEvent(BaseModel):
    """An event in structured mode (`content-type: application/cloudevents+json`): one of data and data_base64."""

    model_config = ConfigDict(extra="allow", title="StructuredEvent")

    specversion: Literal["1.0"] = Field(description="CloudEvents version.")
    id: Filled = Field(description="With source names the event.")
    source: Filled = Field(description="Who made the event.")
    type: Filled = Field(description="What happened.")
    time: Rfc3339 | None = Field(None, description="Event time; without it the record's timestamp counts.")
    datacontenttype: str | None = Field(None, description="Media type of the payload.")
    data: str | TextJson | SensorJson | None = Field(
        None, description="A text, or an object for application/json: a text with attributes, or a sensor's reading."
    )
    data_base64: str | None = Field(None, description="The payload in base64; images and sounds come this way.")
    traceparent: str | None = Field(None, description="W3C Trace Context, carried on to the result.")
