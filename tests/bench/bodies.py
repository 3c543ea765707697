"""What a body costs that Kafka is asked for by its offset: `python -m tests.bench.bodies` (33 KB, one partition).

Batches of one record, as slow cameras send them, and of 1 MiB. `--before` names an earlier state's source, which takes
turns with this one. A question is for some bodies among neighbours; runs and patience are the worker's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import uuid
from collections import defaultdict
from pathlib import Path

from kafka import KafkaProducer

from tests.bench.asked import Cost
from tests.bench.backlog import FRAME_BYTES, create
from tests.bench.race import say
from tests.bench.table import machine, spread
from worker.demo.stack import Stack, embedded

RECORDS, QUESTIONS = 6_000, 30
BATCHES = {"one record": 1, "1 MiB": 2**20}
SHAPES = ((1, 1), (8, 8), (8, 64), (64, 64), (64, 400), (64, 1_280))  # wanted, among so many that lie side by side


def fill(kafka: str, batch_bytes: int) -> str:
    """A topic of `RECORDS` records in batches of at most so many bytes, one record at least."""
    topic = f"bodies-{uuid.uuid4().hex[:8]}"
    create(kafka, {topic: 1})
    producer = KafkaProducer(bootstrap_servers=kafka, batch_size=batch_bytes, linger_ms=50, max_request_size=2**21)
    body = random.Random(1).randbytes(FRAME_BYTES)
    for _ in range(RECORDS):
        producer.send(topic, partition=0, key=b"camera-1", value=body)
    producer.close()
    return topic


def questions(wanted: int, among: int, seed: int) -> list[list[int]]:
    """Offsets, rising, of each question."""
    rng = random.Random(seed)
    begins = (rng.randrange(RECORDS - among) for _ in range(QUESTIONS))
    return [sorted(rng.sample(range(begin, begin + among), wanted)) for begin in begins]


def asked(stack: Stack, topic: str, before: str, seed: int) -> list[Cost]:
    """The cost of each shape, by a process of its own."""
    spec = {
        "kafka": stack.bootstrap_servers, "broker": stack.kafka.pid if stack.kafka else 0, "topic": topic,
        "size": FRAME_BYTES, "before": before, "shapes": [questions(*shape, seed) for shape in SHAPES],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.asked", json.dumps(spec)], stdout=subprocess.PIPE, check=True
    )
    return [Cost(*cost) for cost in json.loads(done.stdout)]


def main() -> None:
    """Runs the rounds and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bodies", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", default="", help="an earlier state's source")
    given = parser.parse_args()
    sides = ["", os.path.abspath(given.before)] if given.before else [""]
    with embedded(Path(os.environ.get("FUSION_CACHE", ".cache")), say) as stack:
        print(f"us a body, n = {given.rounds} rounds of {QUESTIONS} questions, {machine()}\n")
        print("| batches | wanted | of | CPU | broker | time | CPU to before | broker to before | time to before |")
        print("|---" * 9 + "|", flush=True)
        for name, size in BATCHES.items():
            topic, found = fill(stack.bootstrap_servers, size), defaultdict[str, list[list[Cost]]](list)
            for number in range(given.rounds):
                for side in sides[:: -1 if number % 2 else 1]:
                    found[side].append(asked(stack, topic, side, number))
            for at, shape in enumerate(SHAPES):
                now = [costs[at] for costs in found[""]]
                before = [costs[at] for costs in found.get(sides[1], ())] if given.before else []
                print(row(name, shape, now, before), flush=True)


def row(name: str, shape: tuple[int, int], now: list[Cost], before: list[Cost]) -> str:
    """Medians and ranges of a shape, and the ratios of each round."""
    told = [spread([cost[n] for cost in now]) for n in range(3)]
    ratios = [
        spread([a[n] / b[n] for a, b in zip(now, before, strict=True)], ".2f") if before else "" for n in range(3)
    ]
    return f"| {' | '.join([name, *map(str, shape), *told, *ratios])} |"


if __name__ == "__main__":
    main()
