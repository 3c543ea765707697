"""Samples -> batches for FusionModel.forward, with modality dropout."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from worker.errors import ConfigError, Poison
from worker.model.config import FusionConfig
from worker.model.encoders import ImageEncoder, TextEncoder
from worker.model.heads import Heads
from worker.model.items import Item, collate
from worker.model.preprocess import NO_TOKEN, Body, Parts, Preprocessor, columns_of
from worker.training.augment import Augment
from worker.training.blind import blind_images
from worker.training.bodies import check_columns
from worker.training.doubles import digest_of
from worker.training.heads import encoded
from worker.training.presence import Presence, hide
from worker.training.robust import Change
from worker.training.rows import Sample
from worker.training.sources import check_known

# Maps of a backbone that is not trained, kept in memory; with more images each is computed anew in every epoch.
_MOST_KEPT_BYTES = 4 * 2**30
_AT_ONCE = 32
# Each epoch draws from these; a backbone that stays as it is sees each once.
_BLIND = 400


class Samples(Dataset[tuple[Item, int]]):
    """Samples as the model's items and the numbers of their labels; bodies are decoded when they are asked for."""

    def __init__(
        self,
        samples: Sequence[Sample],
        names: Sequence[str],
        labels: Sequence[str],
        config: FusionConfig,
        preprocessor: Preprocessor,
    ) -> None:
        """`names` are the data's inputs in the order of `config.inputs`.

        Raises:
            ConfigError: a label is not one of `labels`, a target none of its head, or a reading has no number for the
                model.
        """
        check_known(samples, labels)
        self._samples, self._names, self._config, self._preprocessor = samples, tuple(names), config, preprocessor
        self._numbers = {label: number for number, label in enumerate(labels)}
        self._change: Change | None = None
        self._augment = Augment(0.0)
        self._seed = 0
        self._maps: dict[bytes, Tensor] = {}
        self._states: dict[tuple[bytes, ...], Tensor] = {}
        self._blind: list[Tensor] = []
        self._check_readings()
        encoded(Heads(config.heads), samples)

    def _check_readings(self) -> None:
        inputs = zip(self._names, self._config.names, self._config.inputs, strict=True)
        columns = {name: columns_of(self._config, own)[1] for name, own, modality in inputs if modality == "sensor"}
        for sample in self._samples:
            for own, body in ((own, body) for name, own in columns.items() for body in sample.bodies.get(name, ())):
                try:
                    check_columns(body, own)
                except Poison as error:
                    said = str(error).removeprefix(f"stream {body.stream!r}: ")
                    raise ConfigError(f"{sample.place}: {body.stream}: {said}") from error

    def changed(self, change: Change, seed: int = 0) -> Samples:
        """These samples as `change(bodies, modality, rng)` spoils the bodies of each input, alike for the same seed."""
        made = copy.copy(self)
        made._change, made._seed = change, seed
        return made

    def augmented(self, augment: Augment, seed: int) -> Samples:
        """These samples as `augment` corrupts them, alike for the same seed; images with kept maps stay as they are."""
        made = copy.copy(self)
        made._augment, made._seed = augment, seed
        return made

    def show_blind(self, seed: int) -> None:
        """Draws the images that show nothing, which `augmented` shows in the place of others; before `keep_maps`."""
        if self._blind:
            return
        names = [name for name, modality in zip(self._names, self._config.inputs, strict=True) if modality == "image"]
        bodies = [body for sample in self._samples[:_BLIND] for name in names for body in sample.bodies.get(name, ())]
        scenes = [self._preprocessor.tensors("image", (body,))[0] for body in bodies[: _BLIND // 4]]
        self._blind = blind_images(_BLIND, self._config.image_size, scenes, seed) if names else []

    def having(self, inputs: Sequence[int]) -> Samples:
        """Those samples that have all of these inputs, by their numbers."""
        made, names = copy.copy(self), {self._names[number] for number in inputs}
        made._samples = [sample for sample in self._samples if names <= sample.bodies.keys()]
        return made

    def picked(self, numbers: Iterable[int]) -> Samples:
        """The samples of these numbers."""
        made = copy.copy(self)
        made._samples = [self._samples[number] for number in numbers]
        return made

    def drawn(self, most: int, seed: int) -> Samples:
        """At most so many of these samples, in their order; the same for the same seed."""
        return self.picked(np.sort(np.random.default_rng(seed).permutation(len(self))[:most]))

    def with_two(self) -> Samples:
        """Those samples that have two inputs or more."""
        made = copy.copy(self)
        made._samples = [one for one in self._samples if len(one.bodies.keys() & set(self._names)) > 1]
        return made

    def relabelled(self, numbers: Sequence[int], labels: Sequence[int]) -> Samples:
        """Those of these samples, by their numbers, with other labels, by theirs."""
        made, names = copy.copy(self), [*self._numbers]
        pairs = zip(numbers, labels, strict=True)
        made._samples = [replace(self._samples[number], label=names[label]) for number, label in pairs]
        return made

    def with_more(self, other: Samples) -> Samples:
        """These samples and then those, of the same model."""
        made = copy.copy(self)
        made._samples = [*self._samples, *other._samples]
        made._maps, made._states = {**self._maps, **other._maps}, {**self._states, **other._states}
        return made

    @torch.inference_mode()
    def keep_maps(self, encoder: ImageEncoder) -> bool:
        """Computes the map of every image once, for a backbone that stays as it is; False when that is too much.

        The maps are kept in bf16.
        """
        encoder.eval()
        names = [name for name, modality in zip(self._names, self._config.inputs, strict=True) if modality == "image"]
        bodies = {body.payload: body for s in self._samples for name in names for body in s.bodies.get(name, ())}
        pending: list[tuple[bytes, Tensor]] = []
        for number, (payload, body) in enumerate(bodies.items(), 1):
            pending.append((payload, self._preprocessor.tensors("image", (body,))[0]))
            if len(pending) == _AT_ONCE or number == len(bodies):
                device = encoder.projection.weight.device
                maps = encoder.maps(torch.stack([pixels for _, pixels in pending]).to(device)).bfloat16().cpu()
                if maps[0].nbytes * len(bodies) > _MOST_KEPT_BYTES:
                    return False
                self._maps |= {key: one.clone() for (key, _), one in zip(pending, maps, strict=True)}
                pending = []
        device = encoder.projection.weight.device
        for first in range(0, len(self._blind), _AT_ONCE):
            shown = torch.stack(self._blind[first : first + _AT_ONCE]).to(device)
            self._blind[first : first + _AT_ONCE] = [*encoder.maps(shown).bfloat16().cpu()]
        return True

    def forget_maps(self) -> None:
        """Images are decoded again, for a model that also looks at earlier maps (`image_view`)."""
        self._maps = {}

    @torch.inference_mode()
    def keep_states(self, encoder: TextEncoder) -> None:
        """Computes the states of every text once, for an encoder that stays as it is; texts are then not corrupted."""
        encoder.eval()
        names = [name for name, modality in zip(self._names, self._config.inputs, strict=True) if modality == "text"]
        read = [found for sample in self._samples for name in names if (found := sample.bodies.get(name))]
        texts = {tuple(body.payload for body in found): found for found in read}
        ids = {key: self._preprocessor.tensors("text", bodies)[0] for key, bodies in texts.items()}
        length = {key: int((one != NO_TOKEN).sum()) for key, one in ids.items()}
        # By their lengths, so that little is computed of places without tokens.
        order = sorted((key for key in ids if length[key]), key=lambda key: length[key])
        for keys in (order[n : n + _AT_ONCE] for n in range(0, len(order), _AT_ONCE)):
            given = torch.stack([ids[key] for key in keys])[:, : length[keys[-1]]].to(encoder.projection.weight.device)
            said = encoder.states(given, given != NO_TOKEN)
            for key, states in zip(keys, said.bfloat16().cpu(), strict=True):
                padded = states.new_full((self._config.max_tokens, states.shape[1]), torch.nan)
                padded[: length[key]] = states[: length[key]]
                self._states[key] = padded

    def as_pixels(self) -> Samples:
        """These samples, of which every picture is decoded, also where its map is kept."""
        made = copy.copy(self)
        made._maps = {}
        return made

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def names(self) -> tuple[str, ...]:
        """What the data calls the inputs, in the order of the model's."""
        return self._names

    @property
    def rows(self) -> Sequence[Sample]:
        """What they were made from."""
        return self._samples

    @property
    def classes(self) -> list[int]:
        """The number of each sample's label."""
        return [self._numbers[sample.label] for sample in self._samples]

    @property
    def targets(self) -> Tensor:
        """Of each sample the truth of the model's further heads, as `encoded` has it."""
        return encoded(Heads(self._config.heads), self._samples)

    @property
    def digest(self) -> str:
        """How many they are, and a digest of what they hold in their order."""
        return digest_of(self._samples)

    @property
    def config(self) -> FusionConfig:
        """Of the model that they are for."""
        return self._config

    def __getitem__(self, index: int) -> tuple[Item, int]:
        sample = self._samples[index]
        rng, chance = np.random.default_rng([self._seed, index]), np.random.default_rng([self._seed, index])
        made: list[Parts] = []
        for number, (name, modality) in enumerate(zip(self._names, self._config.inputs, strict=True)):
            bodies = sample.bodies.get(name, ())
            if self._change is not None:
                bodies = self._change(bodies, modality, rng)
            try:
                made.append(self._parts(number, modality, bodies, chance))
            except Poison as error:
                raise ConfigError(f"{sample.place}: {error}") from error
        item = Item(tuple(one.tensors for one in made), seconds=tuple(one.seconds for one in made))
        return item, self._numbers[sample.label]

    def _parts(self, number: int, modality: str, bodies: Sequence[Body], chance: np.random.Generator) -> Parts:
        if modality == "image" and self._augment.blind and bodies and chance.random() < self._augment.blind:
            shown = tuple(self._blind[int(chance.integers(len(self._blind)))] for _ in bodies)
            return Parts(shown, tuple(body.seconds for body in bodies))
        if modality == "image" and all(body.payload in self._maps for body in bodies):
            return Parts(tuple(self._maps[body.payload] for body in bodies), tuple(body.seconds for body in bodies))
        if modality == "text" and (states := self._states.get(tuple(body.payload for body in bodies))) is not None:
            return Parts((states,), tuple(body.seconds for body in bodies)[-1:])
        bodies = [self._augment.body(body, modality, chance) for body in bodies]
        parts = self._preprocessor.read(number, bodies)
        if modality != "image":
            return parts
        return parts._replace(tensors=tuple(self._augment.pixels(one, chance) for one in parts.tensors))


def batches(
    samples: Samples, batch: int, presence: Presence, *, seed: int, shuffle: bool
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Batches of (arguments of FusionModel.forward, labels [B]); the same for the same seed."""
    for arguments, labels, _ in told_batches(samples, batch, presence, seed=seed, shuffle=shuffle):
        yield arguments, labels


def told_batches(
    samples: Samples, batch: int, presence: Presence, *, seed: int, shuffle: bool
) -> Iterator[tuple[dict[str, Any], Tensor, Tensor]]:
    """As `batches`, each with the truth of further heads, [B, W] as `encoded` has it."""
    rng, targets = np.random.default_rng(seed), samples.targets.float()

    def collated(places: Sequence[int]) -> tuple[dict[str, Any], Tensor, Tensor]:
        rows = [samples[place] for place in places]
        items = [hide(item, presence, rng) for item, _ in rows]
        return collate(items, samples.config), torch.tensor([label for _, label in rows]), targets[places]

    order, places = torch.Generator().manual_seed(seed), cast("Dataset[int]", range(len(samples)))
    yield from DataLoader(places, batch, shuffle=shuffle, drop_last=shuffle, collate_fn=collated, generator=order)
