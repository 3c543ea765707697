"""`python -m tests.fuzz --minutes 10`: each parser under bytes that libFuzzer finds; the time is shared out equally.

`--targets png,toml` are some of them. What ends otherwise than in a value or an error of ours, takes longer than 10 s
or more memory than 1 GiB above what is there at the start, is told and kept as a file in `--finds`; 1 is the exit
code then. `--input FILE --targets NAME` is one find again. Needs the extra `fuzz`.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SLOWEST_SECONDS = 10
MOST_MEMORY_MIB = 2_048  # torch and the worker take half of it
MOST_INPUT_BYTES = 8_192


def main(given: Sequence[str] | None = None) -> int:
    """Fuzzes the targets, one process after the other."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--targets", default=",".join(TARGETS), help="separated by commas")
    parser.add_argument("--finds", type=Path, default=Path(tempfile.gettempdir()) / "fusion-fuzz")
    parser.add_argument("--input", type=Path, help="one file, read once")
    options = parser.parse_args(given)
    names = options.targets.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"there is no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    if options.input is not None:
        for name in names:
            TARGETS[name].parse(options.input.read_bytes())
        return 0
    options.finds.mkdir(parents=True, exist_ok=True)
    seconds = max(1, round(options.minutes * 60 / len(names)))
    codes = [_fuzzed(name, TARGETS[name].good, seconds, options.finds) for name in names]
    return int(any(codes))


def _fuzzed(name: str, good: Sequence[bytes], seconds: int, finds: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for body in good:
            (Path(folder) / hashlib.sha1(body).hexdigest()).write_bytes(body)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.one", name, folder, f"-max_total_time={seconds}",
             f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={MOST_MEMORY_MIB}", f"-max_len={MOST_INPUT_BYTES}",
             f"-artifact_prefix={finds}/{name}-", "-print_final_stats=1"],
            capture_output=True, text=True,
        )  # fmt: skip
    text = done.stdout + done.stderr
    runs = re.search(r"number_of_executed_units:\s+(\d+)", text)
    peak = re.search(r"peak_rss_mb:\s+(\d+)", text)
    said = "nothing found" if done.returncode == 0 else f"FOUND (exit {done.returncode})"
    print(f"{name:<9} {time.monotonic() - began:4.0f} s  {runs[1] if runs else '?':>9} inputs  "
          f"{peak[1] if peak else '?':>5} MiB  {said}", flush=True)  # fmt: skip
    if done.returncode:
        print("\n".join(text.splitlines()[-40:]), flush=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
