"""A real RTSP server, GStreamer's from Debian, and a clip that the project draws: each picture says its number.

`python -m tests.rtsp` fetches the server ahead of the tests. As a program with arguments this file is the server: it
speaks to GStreamer's library without a binding, so that no package but GStreamer's own is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import debian

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "gstreamer"
PACKAGES = (
    "libgstrtspserver-1.0-0", "libgstreamer1.0-0", "libgstreamer-plugins-base1.0-0", "libgstreamer-plugins-bad1.0-0",
    "gstreamer1.0-plugins-base", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad", "liborc-0.4-0",
)  # fmt: skip
PLUGINS = ("rtp", "rtpmanager", "videoparsersbad", "isomp4", "coreelements", "app", "udp", "tcp", "typefindfunctions")
LAUNCH = "( filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
_NUMBER_BITS, _CELL = 12, 40
_PERMISSION = ctypes.c_size_t(5 << 2)  # G_TYPE_BOOLEAN
_STRING = ctypes.c_size_t(16 << 2)  # G_TYPE_STRING


def libraries() -> Path:
    """The folder of GStreamer's libraries, fetched into the cache when they are not there.

    Raises:
        FileNotFoundError: they cannot be had; the message says what to fetch.
    """
    return debian.libraries(debian.unpacked("gstreamer", PACKAGES, _choose))


def _choose(root: Path) -> None:
    """Only the plug-ins that are used: the others want libraries that are not here."""
    library = debian.libraries(root)
    (library / "chosen").mkdir()
    for name in PLUGINS:
        (library / "gstreamer-1.0" / f"libgst{name}.so").rename(library / "chosen" / f"libgst{name}.so")


class Server:
    """An RTSP server on a port that stays its own over `stop` and `start`."""

    def __init__(self, clip: Path, *account: str) -> None:
        """`account`: user and password, or nothing."""
        self._clip, self._account = clip, account
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, account: str = "") -> str:
        """Its address; `account`: `user:password`."""
        return f"rtsp://{account}{'@' if account else ''}127.0.0.1:{self.port}/clip"

    def start(self) -> None:
        """Returns once it listens."""
        library = libraries()
        environ = {
            **os.environ, "LD_LIBRARY_PATH": str(library), "GST_PLUGIN_PATH": str(library / "chosen"),
            "GST_PLUGIN_SYSTEM_PATH": "", "GST_REGISTRY": str(CACHE / "registry.bin"), "GST_REGISTRY_FORK": "no",
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.rtsp", str(self.port), LAUNCH.format(clip=self._clip), *self._account]
        libc = ctypes.CDLL(None)
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, preexec_fn=lambda: libc.prctl(1, signal.SIGKILL)
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        """Killed, as a camera that loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def served(clip: Path, *account: str) -> Iterator[Server]:
    """A server that plays the clip from its beginning to whoever comes first, and goes on for the others."""
    server = Server(clip, *account)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def draw(path: Path, seconds: float, rate: int = 15, codec: str = "libx264", wide: int = 320) -> Path:
    """Writes the clip: each picture has its number in its upper half, a bit a cell, and a square that moves."""
    import av
    import numpy as np

    high = wide * 3 // 4
    cell = wide // _NUMBER_BITS
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height = wide, high
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {} if codec == "mjpeg" else {"bf": "0", "g": str(rate), "preset": "ultrafast"}
        for number in range(round(seconds * rate)):
            picture = np.full((high, wide, 3), 96, np.uint8)
            for bit in range(_NUMBER_BITS):
                picture[: high // 2, bit * cell : (bit + 1) * cell] = 240 if number >> bit & 1 else 16
            at = number * 7 % (wide - _CELL)
            picture[high - _CELL :, at : at + _CELL] = (200, 80, 30)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def number_of(jpeg: bytes) -> int:
    """The number in a picture of the clip."""
    import simplejpeg

    picture = simplejpeg.decode_jpeg(jpeg, "GRAY")[:, :, 0]
    cell = picture.shape[1] // _NUMBER_BITS
    bits = [picture[picture.shape[0] // 4, bit * cell + cell // 2] > 128 for bit in range(_NUMBER_BITS)]
    return sum(int(on) << bit for bit, on in enumerate(bits))


def _function(library: Any, name: str, result: Any, *arguments: Any) -> Any:
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


def _serve(port: str, launch: str, account: list[str]) -> None:
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    gst, rtsp = ctypes.CDLL("libgstreamer-1.0.so.0"), ctypes.CDLL("libgstrtspserver-1.0.so.0")
    glib = ctypes.CDLL("libglib-2.0.so.0")
    _function(gst, "gst_init", None, pointer, pointer)(None, None)
    server = _function(rtsp, "gst_rtsp_server_new", pointer)()
    _function(rtsp, "gst_rtsp_server_set_service", None, pointer, text)(server, port.encode())
    factory = _function(rtsp, "gst_rtsp_media_factory_new", pointer)()
    _function(rtsp, "gst_rtsp_media_factory_set_launch", None, pointer, text)(factory, launch.encode())
    _function(rtsp, "gst_rtsp_media_factory_set_shared", None, pointer, number)(factory, 1)
    if account:
        _guard(rtsp, server, factory, *account)
    mounts = _function(rtsp, "gst_rtsp_server_get_mount_points", pointer, pointer)(server)
    _function(rtsp, "gst_rtsp_mount_points_add_factory", None, pointer, text, pointer)(mounts, b"/clip", factory)
    if not _function(rtsp, "gst_rtsp_server_attach", number, pointer, pointer)(server, None):
        raise SystemExit("the port is in use")
    print("ready", flush=True)
    loop = _function(glib, "g_main_loop_new", pointer, pointer, number)(None, 0)
    _function(glib, "g_main_loop_run", None, pointer)(loop)


def _guard(rtsp: Any, server: Any, factory: Any, user: str, password: str) -> None:
    """Only this user may see the clip."""
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    guard = _function(rtsp, "gst_rtsp_auth_new", pointer)()
    rtsp.gst_rtsp_token_new.restype = pointer
    token = rtsp.gst_rtsp_token_new(text(b"media.factory.role"), _STRING, text(b"user"), pointer(None))
    basic = _function(rtsp, "gst_rtsp_auth_make_basic", pointer, text, text)(user.encode(), password.encode())
    _function(rtsp, "gst_rtsp_auth_add_basic", None, pointer, pointer, pointer)(guard, basic, token)
    _function(rtsp, "gst_rtsp_server_set_auth", None, pointer, pointer)(server, guard)
    rights = [text(b"media.factory.access"), _PERMISSION, 1, text(b"media.factory.construct"), _PERMISSION, 1]
    rtsp.gst_rtsp_media_factory_add_role(pointer(factory), text(b"user"), *rights, pointer(None))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _serve(sys.argv[1], sys.argv[2], sys.argv[3:])
    else:
        print(libraries())
