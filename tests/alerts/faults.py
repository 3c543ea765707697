"""Every alert by its real fault: the workers, Kafka, Redis and Prometheus are real, and so is what is done to them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import redis
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from tests.alerts.traffic import Traffic, begin
from tests.alerts.watch import Fired, watched
from tests.chaos.ground import Ground
from tests.security.redis_server import redis_over_tls
from tests.sinks import sinks
from tests.story import Fed, frame
from tests.town import Town
from tests.unit.test_certificates import FAR
from tests.webhook_server import webhook_server


def held(made: Town) -> float:
    """How many anchors the workers say that they hold."""
    return sum(map(float, re.findall(r"^fusion_pending_anchors (\S+)", made.metrics(), re.MULTILINE)))


def workers_end(ground: Ground, folder: Path) -> list[Fired]:
    """One of two is killed, then the other."""
    with watched(ground, folder) as watch:
        traffic = begin(watch, 2)
        watch.strike("one of two workers is killed", "FusionWorkerDown", "FusionNoWorkers")
        watch.made.kill(watch.made.workers[0])
        watch.fires("FusionWorkerDown", busy=traffic)
        watch.strike("the other is killed as well", "FusionNoWorkers")
        watch.made.kill(watch.made.workers[0])
        watch.fires("FusionNoWorkers")
        watch.mend("a worker is started")
        watch.made.start()
        watch.sees(1)
        watch.ends("FusionNoWorkers", busy=traffic)
        watch.forget()
        watch.ends("FusionWorkerDown", busy=traffic)
        return watch.fired


def redis_hangs(ground: Ground, folder: Path) -> list[Fired]:
    """Redis answers no more, while anchors are held."""
    alerts = ("FusionNoResults", "FusionStuck", "FusionOldestPending")
    with watched(ground, folder, streams={"frames": {"max_wait": "4s"}}) as watch:
        traffic = begin(watch)
        now_us = time.time_ns() // 1000
        watch.made.feed([Fed(now_us, "texts", f"alone-{n}", f"alone-{n}", b"report") for n in range(20)])
        watch.until(lambda: held(watch.made) >= 20, "anchors are held")
        watch.strike("Redis hangs (SIGSTOP)", *alerts)
        os.kill(ground.valkey.pid, signal.SIGSTOP)
        try:
            watch.fires(*alerts)
        finally:
            os.kill(ground.valkey.pid, signal.SIGCONT)
        watch.mend("Redis answers again (SIGCONT)")
        watch.ends(*alerts, busy=traffic)
        return watch.fired


def redis_is_emptied(ground: Ground, folder: Path) -> list[Fired]:
    """FLUSHALL."""
    with watched(ground, folder) as watch:
        traffic = begin(watch)
        watch.strike("FLUSHALL", "FusionRedisRebuilds")
        redis.Redis.from_url(ground.redis_url).flushall()
        watch.fires("FusionRedisRebuilds", busy=traffic)
        watch.mend("nothing: it is read again from Kafka")
        watch.ends("FusionRedisRebuilds", busy=traffic)
        return watch.fired


def records_are_malformed(ground: Ground, folder: Path) -> list[Fired]:
    """A producer sends texts that are no UTF-8 among the good ones."""
    with watched(ground, folder) as watch:
        traffic = begin(watch)

        def and_bad_ones() -> None:
            watch.made.send("texts", "junction-1", b"\xff no text")
            traffic()

        watch.strike("one text in five is no UTF-8", "FusionDeadLetters")
        watch.fires("FusionDeadLetters", busy=and_bad_ones)
        watch.mend("the producer is mended")
        watch.ends("FusionDeadLetters", busy=traffic)
        return watch.fired


def too_much_comes(ground: Ground, folder: Path) -> list[Fired]:
    """Texts come a hundred times as fast as the model answers."""
    options = {"model": {"max_batch": 1}, "limits": {"max_pending_anchors": 60}, "cost_ms": 200.0}
    with watched(ground, folder, **options) as watch:
        begin(watch, results=4)
        flood = Traffic(watch.made, texts=100)
        watch.strike("100 times as many texts as the model can answer", "FusionLagGrows", "FusionSlow")
        watch.fires("FusionLagGrows", "FusionSlow", busy=flood)
        watch.mend("the flood ends")
        watch.ends("FusionLagGrows")
        return watch.fired


def a_bound_is_too_small(ground: Ground, folder: Path) -> list[Fired]:
    """Redis keeps four frames of a key, and the camera sends twenty at a time."""
    streams = {"frames": {"max_events_per_key": 4, "max_wait": "1s"}}
    with watched(ground, folder, streams=streams) as watch:
        watch.made.start()
        watch.sees(1)
        numbers = itertools.count()

        def late_texts() -> None:
            """The frames come first, and the text is of the time of one that is gone."""
            now_us, number = time.time_ns() // 1000, next(numbers)
            key = f"key-{number}"
            frames = [Fed(now_us + n * 20_000, "frames", key, f"{key}-{n}", b"") for n in range(20)]
            watch.made.feed([Fed(f.time_us, f.stream, f.key, f.id, frame(f.id)) for f in frames])
            watch.made.read(0.2)
            watch.made.feed([Fed(now_us, "texts", key, f"{key}-t", b"report")])

        watch.strike("max_events_per_key = 4 and 20 frames a moment", "FusionBoundHits")
        watch.fires("FusionBoundHits", busy=late_texts)
        watch.mend("the camera sends less")
        watch.ends("FusionBoundHits", busy=Traffic(watch.made))
        return watch.fired


def retention_takes_bodies(ground: Ground, folder: Path) -> list[Fired]:
    """Frames are deleted from Kafka after they were indexed and before their anchors come; who read them has ended."""
    with watched(ground, folder, {"frames": 1}) as watch:
        traffic = begin(watch)
        now_us = time.time_ns() // 1000
        old = [Fed(now_us - n * 1000, "frames", f"old-{n}", f"old-{n}", frame(f"old-{n}")) for n in range(50)]
        watch.made.feed(sorted(old))
        watch.until(lambda: "frames" not in lagging(watch.made), "frames are read")
        assert watch.made.stop() == [0]
        watch.forget()
        watch.made.start()
        watch.sees(1)
        watch.strike("50 large frames are deleted by retention before their anchors come", "FusionBodiesExpired")
        with closing(KafkaAdminClient(bootstrap_servers=ground.bootstrap_servers)) as admin:
            admin.delete_records({TopicPartition(f"{watch.made.name}.frames", 0): -1})
        watch.made.feed([Fed(now_us, "texts", f"old-{n}", f"old-t{n}", b"report") for n in range(50)])
        watch.fires("FusionBodiesExpired", busy=traffic)
        watch.mend("nothing: later ones are there")
        watch.ends("FusionBodiesExpired", busy=traffic)
        return watch.fired


def lagging(made: Town) -> set[str]:
    """The streams of which something is not read yet."""
    lags = re.findall(r'^fusion_consumer_lag_records{.*?topic="[^"]*\.(\w+)"} (\S+)', made.metrics(), re.MULTILINE)
    return {stream for stream, records in lags if float(records) > 0}


def bodies_do_not_come(ground: Ground, folder: Path) -> list[Fired]:
    """The broker hangs while anchors await large bodies that their worker has not read itself."""
    options = {"limits": {"body_cache_bytes": 16_000}, "model": {"max_batch": 1}, "cost_ms": 50.0}
    with watched(ground, folder, {"frames": 1}, **options) as watch:
        traffic = begin(watch, results=4)
        now_us = time.time_ns() // 1000
        keys = [f"many-{n}" for n in range(200)]
        watch.made.feed([Fed(now_us, "frames", key, f"{key}-f", frame(f"{key}-f")) for key in keys])
        watch.until(lambda: "frames" not in lagging(watch.made), "frames are read")
        watch.made.feed([Fed(now_us, "texts", key, f"{key}-t", b"report") for key in keys])
        watch.until(lambda: 'fusion_bodies_total{from="kafka"} 0.0' not in watch.made.metrics(), "bodies come")
        watch.strike("the broker hangs (SIGSTOP)", "FusionBodiesSilent")
        os.kill(ground.kafka.pid, signal.SIGSTOP)
        try:
            watch.fires("FusionBodiesSilent")
        finally:
            os.kill(ground.kafka.pid, signal.SIGCONT)
        watch.mend("the broker answers again (SIGCONT)")
        watch.ends("FusionBodiesSilent", busy=traffic)
        return watch.fired


def the_road_to_kafka_is_slow(ground: Ground, folder: Path) -> list[Fired]:
    """Every packet between the workers and Kafka takes 0.3 s."""
    with watched(ground, folder, kafka={"bootstrap_servers": f"127.0.0.1:{ground.road.port}"}) as watch:
        traffic = begin(watch)
        watch.strike("0.3 s more for each packet from and to Kafka", "FusionTransactionsSlow")
        ground.road.delay_seconds = 0.3
        try:
            watch.fires("FusionTransactionsSlow", busy=traffic)
        finally:
            ground.road.delay_seconds = 0.0
        watch.mend("the road is as before")
        watch.ends("FusionTransactionsSlow", busy=traffic)
        return watch.fired


def the_model_is_unsure(ground: Ground, folder: Path) -> list[Fired]:
    """The model's scores are spread evenly, and below 0.99 a person is asked."""
    with watched(ground, folder, {"reviews": 1}) as watch:
        watch.made.settings["review"] = {"topic": f"{watch.made.name}.reviews", "below": 0.99}
        traffic = begin(watch)
        watch.strike("nearly every score lies below [review] below", "FusionReviewShare")
        watch.fires("FusionReviewShare", busy=traffic)
        return watch.fired


def two_models(ground: Ground, folder: Path) -> list[Fired]:
    """One worker of the pool was started with another model."""
    with watched(ground, folder) as watch:
        traffic = begin(watch)
        watch.strike("a second worker is started with another model", "FusionModelSkew")
        watch.made.cost_ms = None
        other = watch.made.start()[0]
        watch.sees(2)
        watch.fires("FusionModelSkew", busy=traffic)
        watch.mend("that worker is stopped")
        watch.made.kill(other)
        watch.ends("FusionModelSkew", busy=traffic)
        return watch.fired


def a_shadow_fails(ground: Ground, folder: Path) -> list[Fired]:
    """The shadow model raises on whatever it is asked; results go on."""
    return _from_the_start(ground, folder, "FusionShadowOff", "it raises on everything", model={"shadow": "throwing"})


def a_certificate_ends(ground: Ground, folder: Path) -> list[Fired]:
    """The CA of Redis ends within days; then another is put beside it."""
    with redis_over_tls(folder) as (path, url), watched(ground, folder, redis={"url": url}) as watch:
        watch.strike("the authority's certificate ends within days", "FusionCertificateEnds")
        traffic = begin(watch)
        watch.fires("FusionCertificateEnds", busy=traffic)
        watch.mend("another one beside it")
        path.write_text(path.read_text() + FAR)
        watch.ends("FusionCertificateEnds", busy=traffic)
        return watch.fired


def the_camera_sees_a_wall(ground: Ground, folder: Path) -> list[Fired]:
    """The real model, whose folder has a reference, is given grey pictures and reports in no language."""
    told = "grey pictures, and reports of no language that the model knows"
    return _from_the_start(ground, folder, "FusionDrift", told, model={"path": "shipped:junction"}, cost_ms=None)


def results_do_not_arrive(ground: Ground, folder: Path) -> list[Fired]:
    """What a sink delivers to answers 503; later the sink itself is killed."""
    with watched(ground, folder) as watch, sinks(ground, folder) as made, webhook_server(folder / "server") as server:
        traffic = begin(watch)
        told = ("--set", f"output.topic={watch.made.name}.fusions")
        sink = made.start("webhook", *told, url=server.url, retry_max="1s")
        watch.sees_sink(made.port())
        watch.strike("the sink's receiver answers 503", "FusionSinkBehind", "FusionSinkDown")
        server.answer("503")
        watch.fires("FusionSinkBehind", busy=traffic)
        watch.mend("the receiver takes results again")
        server.answer("ok")
        watch.ends("FusionSinkBehind", busy=traffic)
        watch.strike("the sink is killed", "FusionSinkDown")
        sink.kill()
        watch.fires("FusionSinkDown", busy=traffic)
        watch.mend("another is started")
        made.start("webhook", *told, url=server.url)
        watch.sees_sink(made.port())
        watch.ends("FusionSinkDown", busy=traffic)
        return watch.fired


def an_anchor_is_lost(ground: Ground, folder: Path) -> list[Fired]:
    """A wrong worker, since a right one does not: an anchor is finished without its outcome."""
    return _from_the_start(ground, folder, "FusionPossibleLoss", mutant="outcome_lost")


def an_anchor_is_forgotten(ground: Ground, folder: Path) -> list[Fired]:
    """A wrong worker, since a right one does not: a verdict never reaches the committer."""
    return _from_the_start(ground, folder, "FusionUnaccountedAnchors", mutant="verdict_forgotten")


def _from_the_start(ground: Ground, folder: Path, alert: str, told: str = "", **settings: Any) -> list[Fired]:
    with watched(ground, folder, **settings) as watch:
        watch.made.start()
        watch.sees(1)
        watch.strike(told or f"a worker with a mistake: {settings['mutant']}", alert)
        watch.fires(alert, busy=Traffic(watch.made))
        return watch.fired


FAULTS: tuple[Callable[[Ground, Path], list[Fired]], ...] = (
    workers_end, redis_hangs, redis_is_emptied, records_are_malformed, too_much_comes, a_bound_is_too_small,
    retention_takes_bodies, bodies_do_not_come, the_road_to_kafka_is_slow, the_model_is_unsure, two_models,
    a_shadow_fails, a_certificate_ends, the_camera_sees_a_wall, results_do_not_arrive, an_anchor_is_lost,
    an_anchor_is_forgotten,
)  # fmt: skip
