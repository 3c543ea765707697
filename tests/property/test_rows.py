"""Rows of a training folder, of whatever kind: a sample, or an error with its place."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.errors import ConfigError
from worker.model.config import MODALITIES
from worker.training.rows import ENTRY_FIELDS, ROW_FIELDS, RowError, row_of
from worker.training.samples import folder_rows

NAMES = (*ROW_FIELDS, *ENTRY_FIELDS)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a.jpg", "..", "/"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), VALUES, max_size=6), raw=st.binary(max_size=40)
)
def test_any_row_is_read_or_named(tmp_path: Path, row: dict[str, Any], raw: bytes) -> None:
    """Whatever stands in a row, as JSON or as Parquet gives it, it is a sample or an error with its place."""
    lines = b"\n".join([json.dumps({"label": "a", "text": "b", **row}).encode(), raw.replace(b"\n", b"")])
    (tmp_path / "train.jsonl").write_bytes(lines)
    said = str(tmp_path / "train.jsonl")
    try:
        found = list(folder_rows(tmp_path, "train"))
    except ConfigError as error:
        said = str(error)
    else:
        assert all(one.sample.bodies for one in found)
    assert said.startswith(str(tmp_path / "train.jsonl"))
    for value in (raw, {"bytes": raw, "path": "a"}, {"bytes": None, "path": "a"}, [raw], {"at": NOW, "speed": 1}, NOW):
        for name in MODALITIES:
            with contextlib.suppress(RowError):
                row_of(tmp_path, "here", {"label": 1, **row, name: value})
