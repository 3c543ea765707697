"""By group: the tables are what counting by hand gives, and the gap knows what chance makes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from worker.errors import ConfigError
from worker.training.evaluate import Measured
from worker.training.groups import FEWEST, choices, group, names_of, rows_of_groups
from worker.training.intervals import newcombe, paired_shares
from worker.training.rows import RowError, Sample, row_of
from worker.training.sources import junction_samples, read

LABELS = ("a", "b", "c")


def measured(said: list[int], truth: list[int], familiar: list[float] | None = None) -> Measured:
    """Says these labels with a score near 1."""
    known = None if familiar is None else np.array(familiar)
    return Measured(np.eye(3)[said] * 9.0, np.array(truth), 1.0, LABELS, None if known is None else known * 0, known)


def drawn(count: int = 400) -> tuple[Measured, list[str]]:
    """Samples of five groups of unlike sizes, one of them worse."""
    rng = np.random.default_rng(3)
    names = [
        str(rng.choice(["north", "south", "east", "west", "yard"], p=[0.4, 0.3, 0.25, 0.03, 0.02]))
        for _ in range(count)
    ]
    truth = [int(rng.integers(3 if name != "east" else 2)) for name in names]
    said = [
        t if rng.random() < (0.6 if name == "south" else 0.9) else int(rng.integers(3))
        for t, name in zip(truth, names, strict=True)
    ]
    return measured(said, truth, rng.random(count).tolist()), names


def test_groups_are_what_plain_counting_gives() -> None:
    """Accuracy, macro-F1, shares not familiar, found and false of each, by loops over the samples."""
    found, names = drawn()
    told = group(found, "side", names, "b")
    by: defaultdict[str, list[tuple[int, int, float]]] = defaultdict(list)
    for name, said, truth, familiar in zip(
        names, found.said, found.truth, found.familiar if found.familiar is not None else [], strict=True
    ):
        by[name].append((int(said), int(truth), float(familiar)))
    large = {name: rows for name, rows in by.items() if len(rows) >= FEWEST}
    assert [one.name for one in told.groups] == sorted(
        large, key=lambda name: (sum(s == t for s, t, _ in large[name]) / len(large[name]), name)
    )
    for one in told.groups:
        rows, scores = by[one.name], []
        for label in range(3):
            hit = sum(s == t == label for s, t, _ in rows)
            asked = sum(s == label for s, _, _ in rows) + sum(t == label for _, t, _ in rows)
            scores += [2 * hit / asked] if any(t == label for _, t, _ in rows) else []
        assert (one.right.right, one.right.count) == (sum(s == t for s, t, _ in rows), len(rows))
        assert one.macro_f1 == pytest.approx(sum(scores) / len(scores))
        assert one.strange is not None
        assert one.strange.right == sum(familiar < 0.05 for _, _, familiar in rows)
        assert one.found is not None
        assert one.false is not None
        assert (one.found.right, one.found.count) == (
            sum(s == t == 1 for s, t, _ in rows),
            sum(t == 1 for _, t, _ in rows),
        )
        assert (one.false.right, one.false.count) == (
            sum(s == 1 != t for s, t, _ in rows),
            sum(t != 1 for _, t, _ in rows),
        )
    rest = [row for name, rows in by.items() if name not in large for row in rows]
    assert told.small is not None
    assert (told.smalls, told.small.right.count) == (len(by) - len(large), len(rest))
    assert told.gap is not None
    assert (told.gap.worst, told.gap.best) == (told.groups[0].name, told.groups[-1].name)
    assert told.gap.value == pytest.approx(told.groups[-1].right.value - told.groups[0].right.value)
    assert told.gap.low < told.gap.value < told.gap.high


def test_newcombe_is_the_published_interval() -> None:
    """Newcombe (1998), method 10: 56/70 less 48/80, 9/10 less 3/10; more pairs make it wider."""
    assert newcombe((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe((9, 10), (3, 10)) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    narrow, wide = newcombe((56, 70), (48, 80)), newcombe((56, 70), (48, 80), pairs=10)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_a_paired_share_is_the_bootstrap() -> None:
    """Of 200 of which one gets 20 wrong that the other does not: near the normal interval; of the same 0."""
    one, other = np.ones(200, bool), np.arange(200) >= 20
    low, high = paired_shares(one, other)
    assert (low, high) == pytest.approx((0.1 - 0.0416, 0.1 + 0.0416), abs=0.01)
    assert paired_shares(one, one) == (0.0, 0.0)


def test_what_chance_makes_is_told_beside_the_gap() -> None:
    """Forty cameras that are alike differ by tens of points, within chance; a worse one lies beyond."""
    rng = np.random.default_rng(5)
    names = [f"camera-{n % 40}" for n in range(40 * 25)]
    truth = rng.integers(3, size=len(names))
    alike = np.where(rng.random(len(names)) < 0.8, truth, (truth + 1) % 3)
    gap = group(measured(alike.tolist(), truth.tolist()), "key", names).gap
    assert gap is not None
    assert 0.1 < gap.value < gap.chance
    assert gap.low < 0
    dead = np.where([name == "camera-7" for name in names], (truth + 1) % 3, alike)
    gap = group(measured(dead.tolist(), truth.tolist()), "key", names).gap
    assert gap is not None
    assert gap.worst == "camera-7"
    assert gap.value > gap.chance
    assert gap.low > 0


def test_a_thousand_cameras_are_the_worst_ten_and_a_line() -> None:
    """What is large enough and not shown is a range; what is too small stands together."""
    names = [f"camera-{n % 1000}" for n in range(20_000)] + ["few"] * 3
    truth = [n % 3 for n in range(len(names))]
    said = [(t + 1) % 3 if n % 1000 < 15 and n < 10_000 else t for n, t in enumerate(truth)]
    rows = rows_of_groups(group(measured(said, truth), "key", names))
    assert len(rows) == 1 + 10 + 1 + 1 + 1
    assert rows[1].split()[0] == "camera-0"
    assert rows[11].startswith("1 of fewer than 20")
    assert rows[12] == "990 others: 0.500 to 1.000, median 1.000"
    assert rows[13].startswith("gap of accuracies, ")
    assert rows_of_groups(group(measured([0], [0]), "key", ["a"]))[-1].startswith("no gap is told: it takes two groups")


def test_rows_carry_key_and_attributes(tmp_path: Path) -> None:
    """As strings; null is not told; what is no word is named; and what --by may be is what the rows have."""
    row = {
        "text": "hello",
        "label": "x",
        "key": 7,
        "attributes": {"light": "dark", "lanes": 2, "wet": True, "by": None},
    }
    sample = row_of(tmp_path, "here", row).sample
    assert (sample.key, sample.attributes) == ("7", {"light": "dark", "lanes": "2", "wet": "true"})
    for given, message in (
        ([1], r"attributes \[1\]: must be an object"),
        ({"light": [1]}, r"attributes: 'light' is \[1\]; must be"),
    ):
        with pytest.raises(RowError, match=message):
            row_of(tmp_path, "here", {**row, "attributes": given})
    other = Sample({}, "x", "there")
    assert choices([sample, other]) == ["key", "missing", "lanes", "light", "wet"]
    assert names_of([sample, other], "light", ["text"]) == ["dark", "(not told)"]
    assert names_of([sample, other], "missing", ["text", "image"]) == ["image", "text, image"]
    with pytest.raises(
        ConfigError, match=r"--by colour: no row has such an attribute; must be one of key, missing, lanes, li"
    ):
        names_of([sample, other], "colour", ["text"])
    (tmp_path / "test.jsonl").write_text(json.dumps({**row, "sensor": {"x": 1}}) + "\n")
    assert read(str(tmp_path), 1, 0, ("test",)).only(["text"]).splits["test"][0].attributes["light"] == "dark"


def test_the_drawn_sets_tell_what_they_draw() -> None:
    """Scenes their light and who wrote the report, homes their key; what is drawn is what it was before."""
    scenes = list(junction_samples("test", 60, 1, many=True))
    assert {one.attributes["light"] for one in scenes} == {"dark", "dim", "bright"}
    assert all(one.attributes["hand"].startswith("hand") for one in scenes)
    assert len({one.attributes["report"] for one in scenes}) == 5
    homes = read("household", 320, 0, ("test",)).splits["test"]
    assert {one.key for one in homes} == {f"home-{n}" for n in range(1, 9)}
