"""An ONVIF camera of a test, as far as its event service goes, a process of its own: `python -m tests.onvif_camera PORT
USER PASSWORD`. It checks the password as WS-Security has it; what it answers is read by a client that holds it against
ONVIF's own WSDL. What is posted to /say, it tells its subscribers.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import queue
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.sinks import wait_until
from worker.demo.processes import answers, free_port

USER, PASSWORD = "viewer", "s3cret-word"
_EVENTS = "http://www.onvif.org/ver10/events/wsdl"
_SPACES = (
    'xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" '
    f'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:tev="{_EVENTS}" '
    'xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2" xmlns:wsa5="http://www.w3.org/2005/08/addressing" '
    'xmlns:ter="http://www.onvif.org/ver10/error" xmlns:tns1="http://www.onvif.org/ver10/topics"'
)
_DENIED = (
    "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code>"
    '<s:Reason><s:Text xml:lang="en">Sender not authorized</s:Text></s:Reason></s:Fault>'
)


class _Camera(ThreadingHTTPServer):
    daemon_threads = True
    account = (USER, PASSWORD)
    said: queue.Queue[dict[str, Any]] = queue.Queue()

    def answer(self, wanted: str) -> str:
        """The body of an answer."""
        at = f"http://127.0.0.1:{self.server_address[1]}/onvif/events"
        now = datetime.now(UTC)
        times = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (now, now + timedelta(minutes=10))]
        if wanted == "GetSystemDateAndTime":
            date = f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute><tt:Second>{now.second}"
            date += f"</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month>"
            date += f"<tt:Day>{now.day}</tt:Day></tt:Date>"
            return (
                "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>"
                f"<tt:DaylightSavings>false</tt:DaylightSavings><tt:UTCDateTime>{date}</tt:UTCDateTime>"
                "</tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
            )
        if wanted == "GetServices":
            return (
                f"<tds:GetServicesResponse><tds:Service><tds:Namespace>{_EVENTS}</tds:Namespace><tds:XAddr>{at}"
                "</tds:XAddr><tds:Version><tt:Major>2</tt:Major><tt:Minor>6</tt:Minor></tds:Version></tds:Service>"
                "</tds:GetServicesResponse>"
            )
        if wanted == "CreatePullPointSubscription":
            return (
                f"<tev:CreatePullPointSubscriptionResponse><tev:SubscriptionReference><wsa5:Address>{at}</wsa5:Address>"
                f"</tev:SubscriptionReference><wsnt:CurrentTime>{times[0]}</wsnt:CurrentTime><wsnt:TerminationTime>"
                f"{times[1]}</wsnt:TerminationTime></tev:CreatePullPointSubscriptionResponse>"
            )
        if wanted == "PullMessages":
            return (
                f"<tev:PullMessagesResponse><tev:CurrentTime>{times[0]}</tev:CurrentTime><tev:TerminationTime>{times[1]}"
                f"</tev:TerminationTime>{self._notifications()}</tev:PullMessagesResponse>"
            )
        return f"<wsnt:{wanted}Response/>"

    def _notifications(self) -> str:
        found: list[dict[str, Any]] = []
        with contextlib.suppress(queue.Empty):
            found.append(self.said.get(timeout=1))
            while True:
                found.append(self.said.get_nowait())
        return "".join(
            one["xml"]
            if "xml" in one
            else '<wsnt:NotificationMessage><wsnt:Topic Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">'
            f'{one["topic"]}</wsnt:Topic><wsnt:Message><tt:Message UtcTime="{one["time"]}" '
            f'PropertyOperation="{one["operation"]}"><tt:Source>{_items(one["source"])}</tt:Source>'
            f"<tt:Data>{_items(one['data'])}</tt:Data></tt:Message></wsnt:Message></wsnt:NotificationMessage>"
            for one in found
        )

    def allows(self, request: str) -> bool:
        """Whether the request has the right password, as a digest."""
        wanted = ("Username", "Password", "Nonce", "Created")
        parts = [re.search(rf"<\w+:{name}(?: [^>]*)?>([^<]*)<", request) for name in wanted]
        if not all(parts):
            return False
        user, digest, nonce, created = (part[1] for part in parts if part)
        mine = hashlib.sha1(base64.b64decode(nonce) + created.encode() + self.account[1].encode()).digest()
        return (user, digest) == (self.account[0], base64.b64encode(mine).decode())


class _Handler(BaseHTTPRequestHandler):
    server: _Camera

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        """One call."""
        request = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/say":
            self.server.said.put(json.loads(request))
            self._answer(200, "")
            return
        found = re.search(r"Body[^>]*>\s*<(?:\w+:)?(\w+)", request)
        wanted = found[1] if found else ""
        if wanted != "GetSystemDateAndTime" and not self.server.allows(request):
            self._answer(400, _DENIED)
        else:
            self._answer(200, self.server.answer(wanted))

    def _answer(self, status: int, body: str) -> None:
        told = f"<s:Envelope {_SPACES}><s:Body>{body}</s:Body></s:Envelope>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)


def _items(held: dict[str, str]) -> str:
    return "".join(f'<tt:SimpleItem Name="{name}" Value="{value}"/>' for name, value in held.items())


class Camera:
    """A running one, on a port that stays its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Begins."""
        command = [sys.executable, "-m", "tests.onvif_camera", str(self.port), USER, PASSWORD]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        wait_until(lambda: answers(self.port))

    def stop(self) -> None:
        """Power lost."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def url(self, password: str = PASSWORD) -> str:
        """Its address."""
        return f"http://{USER}:{password}@127.0.0.1:{self.port}"

    def say(self, topic: str, time: str, data: dict[str, str], operation: str = "Changed") -> None:
        """Tells its subscribers."""
        self._say({"topic": topic, "time": time, "data": data, "operation": operation, "source": {"Rule": "MyMotion"}})

    def say_xml(self, xml: str) -> None:
        """Tells them a notification as it is written; it is one whose `wsnt` and `tt` are known."""
        self._say({"xml": xml})

    def _say(self, told: dict[str, Any]) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/say", json.dumps(told).encode())
        with urllib.request.urlopen(request, timeout=5):
            pass


@contextlib.contextmanager
def onvif_camera() -> Iterator[Camera]:
    """A running one."""
    camera = Camera()
    try:
        yield camera
    finally:
        camera.stop()


if __name__ == "__main__":
    serving = _Camera(("127.0.0.1", int(sys.argv[1])), _Handler)
    serving.account = (sys.argv[2], sys.argv[3])
    serving.serve_forever()
