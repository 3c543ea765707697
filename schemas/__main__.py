"""`python -m schemas` writes the generated files; `--check` ends with 1 when they are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from schemas.generate import FOLDER, stale, write


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 current or written, 1 stale, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="python -m schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are (default: this package)")
    given = parser.parse_args(arguments)
    if not given.check:
        for path in write(given.folder):
            print(f"wrote {path}")
        return 0
    old = stale(given.folder)
    if old:
        print(f"stale: {', '.join(old)}; run python -m schemas", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
