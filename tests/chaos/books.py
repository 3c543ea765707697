"""What was fed and what must become of it, held against what came: by the records' places in Kafka, not their ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.chaos.checker import Findings
from tests.chaos.told import Must, Told
from tests.story import echoed, nearest_frame
from tests.town import Town

Place = tuple[str, int, int]
# Of a story's records: about a tenth of a day, so that frames and texts come to the workers as mixed as they are told.
AT_A_TIME = 100


class Books:
    """Feeds a town, and keeps its books."""

    def __init__(self, made: Town) -> None:
        self._made = made
        self._told: dict[Place, Told] = {}
        self._results: dict[Place, list[dict[str, Any]]] = {}
        self._dead: dict[Place, list[Any]] = {}
        self._seen = 0, 0
        self._order: list[tuple[bytes, Place]] = []

    def feed(self, records: Sequence[Told]) -> None:
        """Produces records in this order, of each partition and codec; a few at a time the frames lie in Kafka before
        the texts are sent. A producer takes a batch of each partition in turns: many small texts would come before the
        frames that were sent ahead of them."""
        for begin in range(0, len(records), AT_A_TIME):
            some = records[begin : begin + AT_A_TIME]
            for of_texts in (False, True):
                self._produce([one for one in some if (one.stream == "texts") is of_texts])

    def _produce(self, records: Sequence[Told]) -> None:
        sent = [(one, self._send(one)) for one in records]
        self._made.flush()
        for one, future in sent:
            found = future.get(timeout=30)
            self._told[found.topic, found.partition, found.offset] = one

    def _send(self, one: Told) -> Any:
        topic = f"{self._made.name}.{one.stream}"
        return self._made.producers.send(topic, one.key, one.value, one.headers, one.codec, one.partition)

    def _take(self) -> None:
        """Books what the town has read since."""
        results, dead = self._seen
        for record in self._made.raw[results:]:
            value = json.loads(record.value)
            anchor = value["inputs"]["texts"]
            place = anchor["topic"], anchor["partition"], anchor["offset"]
            self._results.setdefault(place, []).append(value)
            self._order.append((record.key, place))
        for record in self._made.dead[dead:]:
            self._dead.setdefault(_origin(record), []).append(record)
        self._seen = len(self._made.raw), len(self._made.dead)

    def owed(self) -> list[Told]:
        """What was fed and still lacks its outcome."""
        self._take()
        return [
            one
            for place, one in self._told.items()
            if one.must != Must.SERVE and place not in self._results and place not in self._dead
        ]

    def findings(self) -> Findings:
        """What may not be."""
        lost = [one.name for one in self.owed()]
        counts = {
            place: len(self._results.get(place, ())) + len(self._dead.get(place, ()))
            for place in self._results.keys() | self._dead.keys()
        }
        doubled = [self._named(place) for place, number in counts.items() if number > 1 or place not in self._told]
        wanted = nearest_frame([one.event for one in self._told.values() if one.event and one.must != Must.REFUSE])
        bodies = {one.name: one.value or b"" for one in self._told.values()}
        changed = [said for place, one in self._told.items() if (said := self._wrong(place, one, wanted, bodies))]
        return Findings(sorted(lost), sorted(doubled), sorted(changed), self._disordered())

    def _named(self, place: Place) -> str:
        return self._told[place].name if place in self._told else "/".join(map(str, place))

    def _wrong(self, place: Place, one: Told, wanted: dict[str, str | None], bodies: dict[str, bytes]) -> str:
        if one.must in (Must.REFUSE, Must.SERVE):
            return self._wrong_letter(place, one)
        if one.must == Must.OUTCOME or place not in self._told:
            return ""
        for letter in self._dead.get(place, ()):
            return f"{one.name}: a dead letter, {_said(letter)}"
        for result in self._results.get(place, ()):
            found = result["inputs"].get("frames", {}).get("id")
            score = echoed(bodies[one.name], [(found, bodies.get(found, b""))] if found else [])
            right = self._made.cost_ms is None or result["score"] == score
            # Of a right camera all that a text could match lies in Kafka before it: no wait may end without.
            whole = result["complete"] or not one.name.startswith("junction")
            if found != wanted[one.name] or not right or not whole:
                told = f"{result['missing'] or 'complete'}, {result['complete']}"
                return f"{one.name}: {found} for {wanted[one.name]}, score {result['score']} for {score}, {told}"
        return ""

    def _wrong_letter(self, place: Place, one: Told) -> str:
        letters = self._dead.get(place, ())
        if one.must == Must.SERVE:
            return f"{one.name}: a dead letter, {_said(letters[0])}" if letters else ""
        if place in self._results:
            return f"{one.name}: a result, where it must be refused"
        for letter in letters:
            left_out = "fusion.headers_omitted_bytes" in dict(letter.headers) or (one.key is None and one.value is None)
            if (letter.key, letter.value) != (one.key, one.value) and not left_out:
                return f"{one.name}: its dead letter has another key or value"
        return ""

    def _disordered(self) -> list[str]:
        """Results that come before an earlier anchor's of their key on their partition."""
        last: dict[tuple[bytes, int], int] = {}
        found = []
        for key, place in self._order:
            _, partition, offset = place
            if offset <= last.get((key, partition), -1):
                found.append(self._named(place))
            last[key, partition] = offset
        return found

    def tally(self) -> str:
        """One line on what came."""
        self._take()
        fed = Counter(one.must.name.lower() for one in self._told.values())
        told = ", ".join(f"{number} {name}" for name, number in sorted(fed.items()))
        return (
            f"fed {len(self._told)} records ({told}): {len(self._order)} results, {len(self._made.dead)} dead letters"
        )


def _header(letter: Any, name: str) -> str:
    return dict(letter.headers).get(f"__connect.errors.{name}", b"").decode()


def _origin(letter: Any) -> Place:
    return _header(letter, "topic"), int(_header(letter, "partition")), int(_header(letter, "offset"))


def _said(letter: Any) -> str:
    return f"{_header(letter, 'stage')}: {_header(letter, 'exception.message')}"
