"""`fusion-worker sink webhook` against a real Kafka and a real HTTP server."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.sinks import result, sinks, wait_until
from tests.webhook_server import webhook_server
from worker.sinks.webhook import signature


def test_each_result_comes_once_signed_and_in_order(stack: Any, tmp_path: Path) -> None:
    """Also behind an aborted transaction, of which nothing comes; the signature fits, the id is the result's."""
    with sinks(stack, tmp_path) as made, webhook_server(tmp_path / "server") as server:
        aborted = KafkaProducer(**made.connection, transactional_id=made.name)
        aborted.init_transactions()
        aborted.begin_transaction()
        aborted.send(made.topic, key=b"k0", value=b'{"id":"never"}')
        aborted.flush()
        aborted.abort_transaction()
        aborted.close()
        ids = made.feed([result(f"k{n % 3}", n) for n in range(60)])
        assert made.run("webhook", url=server.url, secret="whsec_aGVsbG8=", headers='["X-Site: north"]') == 0
        requests = server.requests()
        assert sorted(one["headers"]["webhook-id"] for one in requests) == sorted(ids)
        for key in ("k0", "k1", "k2"):
            times = [one["time"] for one in server.taken() if one["key"] == key]
            assert times == sorted(times)
        head = requests[0]["headers"]
        stamp, body = head["webhook-timestamp"], requests[0]["body"].encode()
        assert head["webhook-signature"] == signature(b"hello", head["webhook-id"], stamp, body)
        assert head["idempotency-key"] == head["webhook-id"]
        assert head["x-site"] == "north"
        assert made.run("webhook", url=server.url) == 0
        assert len(server.requests()) == 60


def test_a_server_that_fails_hangs_or_is_busy_loses_nothing(stack: Any, tmp_path: Path) -> None:
    """503, 429 with Retry-After, no answer, and gone and back: all is delivered, and /readyz says why it waits."""
    with sinks(stack, tmp_path, 1) as made, webhook_server(tmp_path / "server") as server:
        server.answer("503")
        ids = made.feed([result("k", n) for n in range(3)])
        sink = made.start("webhook", url=server.url, timeout="1s", retry_max="1s")
        wait_until(lambda: len(server.requests()) >= 2)
        status, told = _ask(made.port(), "/readyz")
        assert status == 503
        assert "answered 503" in told
        wait_until(lambda: _behind(made) > 0.5)
        server.answer("429 2")
        wait_until(lambda: server.requests()[-1]["status"] == 429)
        server.answer("ok")
        asked = next(one for one in server.requests() if one["status"] == 429)
        wait_until(lambda: len(server.taken()) == 3)
        later = next(one for one in server.requests() if one["at"] > asked["at"])
        assert later["at"] - asked["at"] >= 1.9
        server.answer("hang")
        ids += made.feed([result("k", 3)])
        wait_until(lambda: server.requests()[-1]["status"] == 0)
        server.stop()
        server.answer("ok")
        server.start()
        wait_until(lambda: len(server.taken()) == 4)
        wait_until(lambda: _ask(made.port(), "/readyz")[0] == 200)
        page = _ask(made.port(), "/metrics")[1]
        assert 'fusion_sink_delivered_total{sink="webhook"} 4.0' in page
        assert _behind(made) == 0
        assert made.stop(sink) == 0
        assert [one["id"] for one in server.taken()] == ids


def test_what_is_refused_for_good_is_a_dead_letter(stack: Any, tmp_path: Path) -> None:
    """400 for one of a batch, a redirect, and a record that is no result; the others are delivered."""
    with sinks(stack, tmp_path, 1) as made, webhook_server(tmp_path / "server") as server:
        rows = [result("k", n) for n in range(20)]
        bad = rows[7]["id"]
        server.answer(f"400 {bad}")
        made.feed(rows)
        made.send("k", b"no result")
        made.producer.flush()
        assert made.run("webhook", url=server.url, batch=8) == 0
        assert [one["id"] for one in server.taken()] == [one["id"] for one in rows if one["id"] != bad]
        server.answer("redirect")
        made.feed([result("k", 20)])
        assert made.run("webhook", url=server.url) == 0
        assert server.requests()[-1]["path"] == "/results"
        refused, unread, moved = made.letters("webhook")
        told = {name: (raw or b"").decode() for name, raw in refused.headers}
        assert told["__connect.errors.topic"] == made.topic
        assert told["__connect.errors.offset"] == "7"
        assert told["__connect.errors.stage"] == "PUBLISH"
        assert "answered 400: hm" in told["__connect.errors.exception.message"]
        assert bad.encode() in refused.value
        assert dict(unread.headers)["__connect.errors.stage"] == b"VALIDATE"
        assert b"answered 302" in dict(moved.headers)["__connect.errors.exception.message"]


def test_killed_before_the_commit_it_delivers_again_under_the_same_ids(stack: Any, tmp_path: Path) -> None:
    """SIGKILL between the server's answer and Kafka's: nothing is missing, and the repeats are told by their id."""
    with sinks(stack, tmp_path) as made, webhook_server(tmp_path / "server") as server:
        ids = made.feed([result(f"k{n % 4}", n) for n in range(40)])
        assert made.run("webhook", harness=["--kill", "1"], url=server.url) == -9
        before = [one["headers"]["webhook-id"] for one in server.requests()]
        assert before
        assert made.run("webhook", url=server.url) == 0
        after = [one["headers"]["webhook-id"] for one in server.requests()]
        assert sorted(set(after)) == sorted(ids)
        assert len(after) > len(ids)


@pytest.mark.long
def test_a_sink_that_refuses_all_stops_before_the_topic_is_drained(stack: Any, tmp_path: Path) -> None:
    """404 for everything: after `dead_letters_in_a_row` it ends with 4; 401 ends it with 3 at the first."""
    with sinks(stack, tmp_path, 1) as made, webhook_server(tmp_path / "server") as server:
        made.feed([result("k", n) for n in range(30)])
        server.answer("401")
        assert made.run("webhook", url=server.url) == 3
        server.answer("404")
        assert made.run("webhook", "--set", "limits.dead_letters_in_a_row=10", url=server.url) == 4
        assert len(made.letters("webhook")) == 9


def test_a_bad_start_is_one_line(stack: Any, tmp_path: Path) -> None:
    """No URL, no dead-letter topic, a file of certificates that is none, no Kafka."""
    with sinks(stack, tmp_path) as made:
        code, line = made.fails("webhook")
        assert (code, "sinks.webhook.url: must be given" in line) == (2, True)
        code, line = made.fails("webhook", create=False, url="http://127.0.0.1:1/")
        assert (code, "--create makes it" in line) == (2, True)
        code, line = made.fails("webhook", url="http://127.0.0.1:1/", ca_file=__file__)
        assert (code, "sinks.webhook.ca_file" in line) == (2, True)
        away = ("--set", "kafka.bootstrap_servers=127.0.0.1:1", "--set", "kafka.startup_timeout=1s")
        code, line = made.fails("webhook", *away, url="http://127.0.0.1:1/")
        assert (code, "127.0.0.1:1" in line) == (3, True)


def _behind(made: Any) -> float:
    """How late the sink says that it is."""
    page = _ask(made.port(), "/metrics")[1]
    return float(page.partition('fusion_sink_behind_seconds{sink="webhook"} ')[2].split()[0])


def _ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
