"""What models make of reports that another hand wrote: `python -m tests.bench.wordings [--model DIR ...]`.

`--precision fp32 int8` asks it in both forms, in one run.

Each sentence of wordings.json goes with a drawn frame, full or empty; right is the label of both, so that chance is
0.25. Its two authors saw no sentence or template that is trained on, and who wrote those read none of these. Foreign
frames and those of a dead camera go with reports of the kinds calm and alarm; of the latter it is also told how far the
scores lie from those of the report alone (half the sum of the differences: 0 to 1).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.bench.foreign import dead, foreign
from worker.feeds.junction import frame
from worker.model.folder import SHIPPED
from worker.model.items import Item
from worker.model.preprocess import Body, Preprocessor
from worker.model.runtime import ModelRuntime
from worker.model.served import serve
from worker.records import Verdict
from worker.training.intervals import wilson

ALARM = ("alarm", "relapse", "chinese_alarm")
CALM = ("calm", "denied", "after", "chinese_calm")
ENGLISH = ("alarm", "relapse", "calm", "denied", "after")
STRANGE = ("off_topic", "chinese_alarm", "chinese_calm", "chinese_off_topic")
UNFAMILIAR = 0.05
AT_ONCE = 16
LABELS = {
    (False, False): "free_flow",
    (True, False): "congestion",
    (True, True): "accident",
    (False, True): "emergency",
}


def sentences() -> list[tuple[str, str]]:
    """(kind, text), in the order of the file."""
    told = json.loads((Path(__file__).parent / "wordings.json").read_text("utf-8"))
    return [(one["kind"], one["text"]) for one in told]


class Asked:
    """A model, asked as a worker asks it."""

    def __init__(self, folder: Path, precision: str = "auto") -> None:
        served = serve(folder, "cpu", precision)
        self.name, self._preprocessor = folder.name, Preprocessor(served.config, served.tokenizer)
        self.told = f"{folder.name} {served.version} ({served.precision})"
        streams = {"image": "image", "text": "text"}
        self._runtime = ModelRuntime(
            path=None, device="cpu", precision="auto", anchor="image", modalities=streams, served=served
        )
        self.seconds, self.pairs = 0.0, 0

    def __call__(self, pairs: Iterable[tuple[bytes | None, str]]) -> list[Verdict]:
        """The verdicts of (frame, text); None: no frame came."""
        items = [self._item(image, text) for image, text in pairs]
        began, told = time.perf_counter(), []
        for n in range(0, len(items), AT_ONCE):
            told += self._runtime.infer(items[n : n + AT_ONCE])
        self.seconds, self.pairs = self.seconds + time.perf_counter() - began, self.pairs + len(items)
        return told

    def _item(self, image: bytes | None, text: str) -> Item:
        frames = (Body(image, "image/jpeg", "image"),) if image is not None else ()
        bodies = frames, (Body(text.encode(), "text/plain", "text"),)
        return Item(tuple(self._preprocessor.read(n, one).tensors for n, one in enumerate(bodies)))


def right(asked: Asked, texts: Sequence[tuple[str, str]]) -> list[bool]:
    """Of each sentence, whether the label is that of its alarm and of its frame."""
    rng = np.random.default_rng(14)
    wanted = [LABELS[number % 4 > 1, kind in ALARM] for number, (kind, _) in enumerate(texts)]
    told = asked((frame(rng, label), text) for label, (_, text) in zip(wanted, texts, strict=True))
    return [one.label == label for one, label in zip(told, wanted, strict=True)]


def share(found: Sequence[bool]) -> str:
    """A share with its interval, of how many."""
    low, high = wilson(sum(found), len(found))
    return f"{sum(found) / len(found):.3f}  {low:.3f} to {high:.3f}  {len(found):4d}"


def unfamiliar(verdicts: Sequence[Verdict]) -> str:
    """How many are said not to be familiar."""
    if any(one.confidence is None for one in verdicts):
        return "tells no familiarity"
    return share([one.confidence is not None and one.confidence.familiar < UNFAMILIAR for one in verdicts])


def apart(some: Sequence[Verdict], others: Sequence[Verdict]) -> list[float]:
    """Of each pair of verdicts half the sum of their scores' differences."""
    return [
        sum(abs(one.scores[label] - other.scores[label]) for label in one.scores) / 2
        for one, other in zip(some, others, strict=True)
    ]


def lines(asked: Asked) -> Iterable[str]:
    """The table of one model."""
    every = sentences()
    yield "right, 95 %, n"
    found = [(kind, good) for (kind, _), good in zip(every, right(asked, every), strict=True)]
    for kinds in (ENGLISH, *((kind,) for kind in (*ENGLISH, "chinese_alarm", "chinese_calm"))):
        name = "all English" if kinds == ENGLISH else kinds[0]
        yield f"  {name:<13}  {share([good for kind, good in found if kind in kinds])}"
    yield f"said not to be familiar (below {UNFAMILIAR}), 95 %, n"
    rng = np.random.default_rng(15)
    reports = [text for kind, text in every if kind in ("calm", "alarm")]
    for kind in (*STRANGE, *ENGLISH):
        texts = [text for own, text in every if own == kind]
        yield f"  {kind:<17}  {unfamiliar(asked((frame(rng, 'congestion'), text) for text in texts))}"
    for name, drawn in (("foreign frames", foreign), ("dead frames", dead)):
        told = asked((drawn(rng), text) for text in reports)
        yield f"  {name:<17}  {unfamiliar(told)}"
    far = apart(told, asked((None, text) for text in reports))
    yield "dead frames, how far the scores are from those of the report alone"
    yield f"  mean {np.mean(far):.3f}, nine of ten below {np.quantile(far, 0.9):.3f}"
    yield f"{asked.pairs / asked.seconds:.0f} pairs/s, batches of {AT_ONCE}, without decoding"


def main() -> None:
    """Prints a table per model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, nargs="+", default=[SHIPPED])
    parser.add_argument("--precision", nargs="+", default=["auto"], help="one after the other")
    arguments = parser.parse_args()
    for folder in arguments.model:
        for precision in arguments.precision:
            asked = Asked(folder, precision)
            print(asked.told, *lines(asked), "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
