"""Names of what is given, streams or a data folder's inputs -> the model's inputs: by name, never by order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from worker.errors import ConfigError
from worker.model.config import FusionConfig

_NOTHING: Mapping[str, str] = {}


def streams_of_inputs(
    config: FusionConfig, streams: Mapping[str, str], mapped: Mapping[str, str] = _NOTHING
) -> list[list[str]]:
    """Per input of the model, in its order, the streams that feed it, sorted; an input may have none.

    A stream feeds the input that `mapped` ([model.inputs]) names, else the input of its own name, else the only input
    of its modality if it is the only stream of it. Several share an input only where `mapped` says so.

    Args:
        streams: name -> modality.

    Raises:
        ConfigError: a stream feeds no input, or one of another modality.
    """
    fed: list[list[str]] = [[] for _ in config.inputs]
    for stream, number in _chosen(config, streams, mapped).items():
        if number is None:
            raise ConfigError(_unfit(config, streams, stream))
        fed[number].append(stream)
    return [sorted(names) for names in fed]


def data_of_inputs(config: FusionConfig, data: Mapping[str, str], *, what: str, more: bool = False) -> list[str]:
    """Per input of the model, in its order, the data's input (name -> modality) that feeds it; found as a stream is.

    `more`: the data may have others beside them. `what` begins the message.

    Raises:
        ConfigError: an input has none; or the data has one that the model does not take.
    """
    chosen = _chosen(config, data, _NOTHING)
    by_number = {number: name for name, number in chosen.items() if number is not None}
    if len(by_number) < len(config.inputs) or (not more and len(by_number) < len(data)):
        given = _listed(data.items())
        raise ConfigError(f"{what}: the model's inputs are {_told(config)}; --data has {given}; {_remedy(config)}")
    return [by_number[number] for number in range(len(config.inputs))]


def numbers_of(config: FusionConfig, data: Mapping[str, str]) -> dict[str, int | None]:
    """Of each of the data's inputs (name -> modality) the number of the model's own, found as a stream's is; None: it
    has none."""
    return _chosen(config, data, _NOTHING)


def _chosen(config: FusionConfig, given: Mapping[str, str], mapped: Mapping[str, str]) -> dict[str, int | None]:
    """Of each of `given` the number of its input; None: it has none, or one cannot tell which."""
    names = config.names
    for stream, name in mapped.items():
        if name not in names:
            raise ConfigError(f"model.inputs.{stream} = {name!r}: the model's inputs are {_told(config)}")
    counts, inputs = Counter(given.values()), Counter(config.inputs)
    found: dict[str, int | None] = {}
    for one, modality in given.items():
        name = mapped.get(one, one)
        if name in names and config.inputs[names.index(name)] == modality:
            found[one] = names.index(name)
        else:
            is_sole = name not in names and counts[modality] == inputs[modality] == 1
            found[one] = config.inputs.index(modality) if is_sole else None
    return found


def _unfit(config: FusionConfig, streams: Mapping[str, str], stream: str) -> str:
    modality = streams[stream]
    if modality not in config.inputs:
        return (
            f"streams.{stream}.modality = {modality!r}: none of the model's inputs, {_told(config)}, is of it; "
            f"the streams are {_listed(streams.items())}; train one with this modality, or take the stream out"
        )
    example = config.names[config.inputs.index(modality)]
    return (
        f"streams.{stream}: feeds no input of the model, whose inputs are {_told(config)}; the streams are "
        f"{_listed(streams.items())}; name them alike, or say under [model.inputs] which feeds which, such as "
        f"{stream} = {example!r}"
    )


def _remedy(config: FusionConfig) -> str:
    if config.input_names is None and len(set(config.inputs)) < len(config.inputs):
        return "its config.json does not tell which is which: add input_names, in the order of inputs, or train it anew"
    return "both must have the same names"


def _told(config: FusionConfig) -> str:
    return _listed(zip(config.names, config.inputs, strict=True))


def _listed(pairs: object) -> str:
    return ", ".join(f"{name} ({modality})" for name, modality in pairs)  # type: ignore[attr-defined]
