"""`python -m tests.fuzz.one TARGET FOLDER -libfuzzer_options`: one parser under libFuzzer, in a process of its own."""

from __future__ import annotations

import sys

try:
    import atheris
except ImportError:
    sys.exit("fuzzing needs atheris: pip install 'fusion-worker[fuzz]'")

with atheris.instrument_imports(include=["worker", "schemas", "tomllib", "json"]):
    from tests.fuzz.targets import TARGETS


if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].parse)
    atheris.Fuzz()
