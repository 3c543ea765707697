"""Configuration of a FusionModel, as `save_pretrained` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

from transformers import PretrainedConfig

from worker.model.heads import Heads

FUSIONS = ("attention", "dense", "graph", "cross_attention")
MODALITIES = ("image", "text", "sensor", "audio")


class FusionConfig(PretrainedConfig):  # type: ignore[misc]
    """What a FusionModel is made of.

    Attributes:
        name: told in every result as `model.name`.
        version: told as `model.version`; None: a digest of the weights.
        inputs: the modality of each input, in order; a modality named twice has two inputs, such as two cameras.
        input_names: what each input is called, by which streams and data find it; None: `names` makes some.
        backbone: a torchvision model, or `efficientnet_lite0`, whose last map is 7x7 for `image_size` x `image_size`.
        backbone_widths: channels inside each of its blocks, where it was pruned; None: as torchvision has it.
        image_size: pixels per side that every image is resized to.
        image_view: after how many stages of the backbone a map tells how familiar an image is; 0: the last map does.
        image_mean, image_std: per channel, of pixels in 0..1.
        text: a transformers configuration with its `model_type`; the text encoder is made from it.
        packages: encoders whose weights an installed package holds, as `packages.told_of` tells it.
        max_tokens: T, the length that every text is padded or cut to.
        channels: the fields of sensors' readings, one for each number of a step; other fields are not looked at.
        channel_words: per channel the word that it stands for, or None (signals.Column); None: all are numbers.
        channel_inputs: per channel the name of the input whose field it is; None: all sensors have all channels.
        channel_mean, channel_std: of each channel in the training data.
        times: whether the model looks at when its bodies were, against the anchor, and at their order.
        max_steps: S, how many of a series' last steps are looked at.
        audio_rate: samples a second that every sound is brought to.
        audio_seconds: how much of a sound's end is looked at; a shorter one is padded with silence.
        mels: bands of the log-mel spectrogram.
        fusion: how the inputs meet; one of FUSIONS.
        dim: D, the size of the fused vector F.
        glimpses: attention maps side by side: glimpses of `attention`, heads of `graph` and `cross_attention`.
        rank: of `attention`; None: full, D.
        dropout: before the head, while training.
        calibration: the temperature that logits are divided by before they become scores; fitted on the dev split.
        heads: what it says beside its label (heads.Head), each as a mapping.
        training: the plan that it was trained by, for who trains it on.
        masked: whether what it was trained on was masked ([privacy]); None: not told.
        calibrations: the same for items with certain inputs alone, by the number of their set: bit n is input n.
    """

    model_type = "fusion"
    name: str
    version: str | None
    inputs: list[str]
    input_names: list[str] | None
    backbone: str
    backbone_widths: list[int] | None
    image_size: int
    image_view: int
    image_mean: list[float]
    image_std: list[float]
    text: dict[str, Any]
    packages: dict[str, dict[str, str]]
    max_tokens: int
    channels: list[str]
    channel_words: list[str | None] | None
    channel_inputs: list[str] | None
    channel_mean: list[float]
    channel_std: list[float]
    times: bool
    max_steps: int
    audio_rate: int
    audio_seconds: float
    mels: int
    fusion: str
    dim: int
    glimpses: int
    rank: int | None
    dropout: float
    calibration: float
    calibrations: dict[str, float]
    heads: list[dict[str, Any]]
    training: dict[str, Any]
    masked: bool | None

    def __init__(
        self,
        name: str = "fusion", version: str | None = None,
        inputs: Sequence[str] = ("image", "text"),
        input_names: Sequence[str] | None = None,
        backbone: str = "mobilenet_v3_small",
        backbone_widths: Sequence[int] | None = None,
        image_size: int = 224, image_view: int = 0,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        text: Mapping[str, Any] | None = None, packages: Mapping[str, Mapping[str, str]] | None = None,
        max_tokens: int = 32, text_view: int = 0,
        channels: Sequence[str] = (),
        channel_words: Sequence[str | None] | None = None, channel_inputs: Sequence[str] | None = None,
        channel_mean: Sequence[float] | None = None, channel_std: Sequence[float] | None = None,
        times: bool = False,
        max_steps: int = 16,
        audio_rate: int = 16_000,
        audio_seconds: float = 2.0,
        mels: int = 64,
        fusion: str = "attention",
        dim: int = 512,
        glimpses: int = 4,
        rank: int | None = None,
        dropout: float = 0.1,
        calibration: float = 1.0,
        calibrations: Mapping[str, float] | None = None, heads: Sequence[Mapping[str, Any]] = (),
        training: Mapping[str, Any] | None = None, masked: bool | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        """Raises ValueError when a value is unknown, or two do not fit each other."""
        given = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        for one, value in given.items():
            setattr(self, one, list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value)
        self.text = dict(text) if text is not None else {"model_type": "bert"}
        self.packages = {part: dict(told) for part, told in (packages or {}).items()}
        self.calibrations, self.training = dict(calibrations or {}), dict(training or {})
        self.channel_mean = list(channel_mean) if channel_mean is not None else [0.0] * len(self.channels)
        self.channel_std = list(channel_std) if channel_std is not None else [1.0] * len(self.channels)
        self._check()
        super().__init__(**kwargs)

    @property
    def names(self) -> list[str]:
        """What each input is called; without `input_names` by its modality, numbered from 1 where there are several."""
        if self.input_names is not None:
            return self.input_names
        several = {name for name in self.inputs if self.inputs.count(name) > 1}
        numbers = [self.inputs[: n + 1].count(name) for n, name in enumerate(self.inputs)]
        return [f"{name}_{n}" if name in several else name for name, n in zip(self.inputs, numbers, strict=True)]

    @property
    def has_label(self) -> bool:
        """Whether it tells labels apart; a model that has further heads alone has one label, always right."""
        return int(self.num_labels) > 1

    @property
    def early_views(self) -> bool:
        """Whether every input's familiarity is told by an earlier layer than the last."""
        views = {"image": self.image_view, "text": self.text_view}
        return all(views.get(modality) for modality in self.inputs)

    @property
    def step_width(self) -> int:
        """How many numbers a step of a sensor has: its channels, and with `times` when it was."""
        return len(self.channels) + self.times

    @property
    def channel_names(self) -> list[str]:
        """Each channel, for people."""
        words = self.channel_words or [None] * len(self.channels)
        return [name if word is None else f"{name} = {word}" for name, word in zip(self.channels, words, strict=True)]

    def _check(self) -> None:
        Heads(self.heads)
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion = {self.fusion!r}: must be one of {', '.join(FUSIONS)}")
        if unknown := [modality for modality in self.inputs if modality not in MODALITIES]:
            raise ValueError(f"inputs: {unknown[0]!r}: must be one of {', '.join(MODALITIES)}")
        if not self.inputs:
            raise ValueError("inputs: must name one modality or more")
        if len(self.names) != len(self.inputs) or len(set(self.names)) < len(self.names):
            raise ValueError(f"input_names = {self.input_names}: must be a name for each of inputs, no two alike")
        if self.dim % self.glimpses:
            raise ValueError(f"dim = {self.dim}: must be a multiple of glimpses = {self.glimpses}")
        if self.rank is not None and (self.rank < 1 or self.rank % self.glimpses):
            raise ValueError(f"rank = {self.rank}: must be a multiple of glimpses = {self.glimpses}")
        if "sensor" in self.inputs and not self.channels:
            raise ValueError("channels: a sensor input needs the names of its numbers")
        told: list[Sized | None] = [
            self.channels,
            self.channel_mean,
            self.channel_std,
            self.channel_words,
            self.channel_inputs,
        ]
        if len({len(one) for one in told if one is not None}) > 1:
            raise ValueError("channel_mean, channel_std, channel_words, channel_inputs: must have one for each channel")
        if unknown := [name for name in self.channel_inputs or () if name not in self.names]:
            raise ValueError(f"channel_inputs: {unknown[0]!r}: must be one of {', '.join(self.names)}")
