"""worker/console over the real HTTP server: who may look, how many, and what is sent."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shown import Played, dead_letter, played, verdict
from worker.console import live

TOKEN = "t0ken~of.the+page=="
PATHS = ["/", "/console/live", "/console/explain?q=k"]


def basic(password: str, user: str = "anna") -> str:
    """The header that a browser sends."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def until(true: Callable[[], object], what: str) -> None:
    """Returns once it is so."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_without_the_setting_there_is_no_page() -> None:
    """Off by default: nothing lies at `/`, nobody hears of batches, and nothing of it is imported."""
    from worker.config import Settings
    from worker.ops.health import Health
    from worker.ops.metrics import PrometheusObserver
    from worker.showing import console_of

    assert not Settings.model_validate({}).http.console
    assert console_of(Settings.model_validate({}), PrometheusObserver(), Health(), ()) == (None, None)
    script = "import sys, worker.assemble; print([name for name in sys.modules if name.startswith('worker.console')])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"


def test_the_token_is_asked_for_everywhere(tmp_path: Path) -> None:
    """As the password of any user, or as a bearer token; what is wrong is not told. Health asks for none."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    with played(token_file=str(path)) as made:
        for wrong in ("", "Basic", "Basic !!!", basic("no"), basic(""), basic(TOKEN, "x") + "x", f"Bearer {TOKEN}x"):
            for where in PATHS:
                status, headers, body = made.ask(where, Authorization=wrong)
                assert (status, TOKEN in body.decode()) == (401, False), wrong
            assert headers.get_all("WWW-Authenticate") == ["Bearer", 'Basic realm="fusion-worker", charset="UTF-8"']
        for right in (basic(TOKEN), basic(TOKEN, ""), basic(TOKEN, "a"), f"Bearer {TOKEN}"):
            assert made.ask("/", Authorization=right)[0] == 200
        assert made.ask("/metrics", Authorization=basic(TOKEN))[0] == 200
        assert made.ask("/livez")[0] == 200


@pytest.mark.parametrize("path", PATHS)
def test_another_site_gets_nothing(path: str) -> None:
    """Neither by a link of its own, nor by a name of its own that leads here (DNS rebinding)."""
    with played() as made:
        for site in ("cross-site", "same-site"):
            assert made.ask(path, Sec_Fetch_Site=site)[0] == 403
            followed = made.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Dest="document")[0]
            assert followed == (200 if path == "/" else 403)
        for host in ("evil.example", "evil.example:9108", "127.0.0.1.evil.example", "", "[evil]"):
            assert made.ask(path, Host=host)[0] == 403, host
        for host in ("localhost", "LOCALHOST:9108", "127.0.0.1:1", "[::1]:9108", "10.0.0.7"):
            assert made.ask(path, "HEAD", Host=host)[0] in (200, 400), host
        assert made.ask("/metrics", Host="evil.example")[0] == 200


def test_with_a_token_any_name_will_do(tmp_path: Path) -> None:
    """A browser sends the password under our own name alone."""
    (tmp_path / "token").write_text(TOKEN)
    with played(token_file=str(tmp_path / "token")) as made:
        assert made.ask("/", Host="worker.example", Authorization=basic(TOKEN))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    """405 of every address, with what is allowed."""
    with played() as made:
        for path in PATHS:
            status, headers, _ = made.ask(path, method)
            assert (status, headers["Allow"], headers["Access-Control-Allow-Origin"]) == (405, "GET, HEAD", None)


def test_who_looks_is_told_state_and_verdicts() -> None:
    """At once, and again each second; a verdict once. What is in an event is text in JSON."""
    nasty = "</script><script>alert(1)</script>\r\ndata: x\n\nevent: \u2028 <img src=x onerror=alert(1)>"
    with played() as made:
        made.observer.count("events_total", 5, stream="texts", outcome="accepted")
        made.health.block("kafka", "no broker answers")
        with made.watching() as events:
            assert next(events)[0] == "state"
            made.says(verdict(1, nasty), dead_letter(2))
            told = [next(events) for _ in range(3)]
            assert [name for name, _ in told] == ["state", "verdicts", "state"]
            first, second = told[1][1]
            assert (first["inputs"][0]["text"], second["dead"]) == (nasty, ["DECODE undecodable"])
            state = told[0][1]
            assert (state["about"]["group"], state["about"]["model"]) == ("junctions", "junction 7, cpu fp32")
            assert state["reasons"] == ["kafka: no broker answers"]
            assert state["steps"] == []
            made.says(verdict(5))
            _, again = next(one for one in events if one[0] == "verdicts")
            assert [one["number"] for one in again] == [3]


def test_there_may_be_so_many_and_no_more() -> None:
    """One who goes makes room; one who asks for the head alone takes none."""
    with played() as made:
        for _ in range(20):
            assert made.ask("/console/live", "HEAD")[0] == 200
        looks = [made.watching() for _ in range(live.MOST_WATCHERS)]
        for look in looks:
            next(look.__enter__())
        status, _, told = made.ask("/console/live")
        assert (status, told) == (503, b"8 pages are open already; close one\n")
        assert made.ask("/")[0] == 200
        looks[0].__exit__(None, None, None)
        until(lambda: not made.pages._live.is_full, "the place of one who went is taken for ever")
        for look in looks[1:]:
            look.__exit__(None, None, None)


def test_the_end_waits_for_nobody_who_looks() -> None:
    """A stopped server has told all of them, and no thread of theirs is left."""
    with played() as made, made.watching() as events:
        next(events)
        began = time.monotonic()
        made.server.stop()
        assert time.monotonic() - began < 2
        assert len(list(events)) <= 2
        until(lambda: made.pages._live._watchers == 0, "a watcher is left")


def test_one_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full connection ends by the server's time limit."""
    monkeypatch.setattr("worker.ops.http._Handler.timeout", 2.0)
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.001)
    with played() as made, socket.create_connection(("127.0.0.1", made.server.port)) as silent:
        made.health.block("kafka", "x" * 1_000_000)
        silent.sendall(b"GET /console/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent.recv(1)
        until(lambda: made.pages._live._watchers == 0, "it is waited for")


def explains(script: str) -> list[str]:
    """A command in place of `explain`."""
    return [sys.executable, "-u", "-c", script]


def test_a_search_is_what_explain_says_of_it() -> None:
    """By the anchor's key and id, by the result's id, by a place; anything else is looked for in the results."""
    with played(explains("import sys; print('explained', sys.argv[1:])")) as made:
        made.says(verdict(3), verdict(9))
        result = made.pages._live._teller.told(made.pages._live._last.now()[0])
        for wanted, given in (
            ("junction-4", ["--", "texts-in/0/9"]),
            ("junction-4-texts-3", ["--", "texts-in/0/3"]),
            (result["id"], ["--", "texts-in/0/3"]),
            ("texts-in/2/77", ["--", "texts-in/2/77"]),
            ("-rf", ["--find=-rf"]),
            ("one/two", ["--find=one/two"]),
        ):
            status, headers, told = made.ask(f"/console/explain?q={wanted}")
            assert (status, headers.get_content_type()) == (200, "text/plain")
            assert told.decode().splitlines()[-1] == f"explained {given}"
        for wrong in ("", "%20", "a%00b", "a%0Ab", "x" * 301):
            assert made.ask(f"/console/explain?q={wrong}")[0] == 400
    with played() as made:
        assert b"this worker cannot explain" in made.ask("/console/explain?q=k")[2]


def test_one_search_at_a_time_and_none_outlives_the_worker(tmp_path: Path) -> None:
    """Its process has less than the worker of what there is to share, and ends with it."""
    file = tmp_path / "pid"
    script = f"import os, time; open({str(file)!r} + '~', 'w').write(str(os.getpid()))\n"
    script += f"os.rename({str(file)!r} + '~', {str(file)!r}); time.sleep(60)"
    told: list[bytes] = []
    with played(explains(script)) as made:
        asking = threading.Thread(target=lambda: told.append(made.ask("/console/explain?q=k")[2]))
        asking.start()
        until(file.exists, "it does not run")
        pid = int(file.read_text())
        until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 15, "it is as important as the worker")
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        assert b"another search runs" in made.ask("/console/explain?q=k")[2]
    asking.join(10)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    assert told[0].startswith(b"looking for k")


def test_a_search_that_nobody_waits_for_is_ended() -> None:
    """Who closes the page has the next search at once, though the first has nothing to say."""
    with played(explains("import time; time.sleep(60)")) as made:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", made.server.port)) as asking:
                asking.sendall(b"GET /console/explain?q=k HTTP/1.1\r\nHost: localhost\r\n\r\n")
                until(lambda: made.pages._search._running is not None, "it does not run")
            until(lambda: not made.pages._search._one.locked(), "it goes on")


def test_a_search_has_its_turn_when_the_one_before_is_given_up() -> None:
    """Who closes the details and searches again at once is not told of the search that was closed."""
    with played(explains("import sys, time; time.sleep(60 * (sys.argv[1] != '--find=two')); print('found')")) as made:
        with socket.create_connection(("127.0.0.1", made.server.port)) as asking:
            asking.sendall(b"GET /console/explain?q=one HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: made.pages._search._running is not None, "it does not run")
        assert made.ask("/console/explain?q=two")[2].splitlines()[-1] == b"found"


def test_a_search_that_cannot_begin_says_so() -> None:
    """In its answer, as whatever else it says; the next one has its turn."""
    made = Played(["/nowhere/explain"])
    for _ in range(2):
        said = b"".join(made.pages._search.lines("k")).decode().splitlines()
        assert said[-1] == "explain cannot be started: No such file or directory"


def test_a_search_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and the next one has its turn."""
    made = Played(explains("import time; print('reads', flush=True); time.sleep(60)"))
    made.pages._search._seconds = 0.5
    for _ in range(2):
        said = b"".join(made.pages._search.lines("k")).decode().splitlines()
        assert said[-1] == "ended: it took longer than 0 s"
