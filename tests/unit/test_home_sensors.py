"""docs/start/home.md: how sensors of other programs reach the model that ships, by mappings that are run here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from worker.cli import main
from worker.feeds.messages.check import messages_in
from worker.feeds.messages.mapping import mapping_of
from worker.feeds.messages.translate import Translator
from worker.model.folder import folder_of
from worker.model.signals import Column, read_sensor

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/start/home.md").read_text(encoding="utf-8")
MAPPINGS = dict(zip(("zigbee2mqtt", "homeassistant"), re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL), strict=True))


@pytest.fixture(params=sorted(MAPPINGS))
def files(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A mapping of the page, and its lines of the page's sample."""
    mapping, sample = tmp_path / "sensors.toml", tmp_path / "sample.txt"
    mapping.write_text(MAPPINGS[request.param], encoding="utf-8")
    lines = re.findall(rf"^{request.param}/.*\n", PAGE, re.MULTILINE)
    assert lines
    sample.write_text("".join(lines), encoding="utf-8")
    return mapping, sample


def test_the_page_s_sample_is_of_use(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """By the page's own command and the configuration that `init` writes; each event is of the page's home."""
    mapping, sample = map(str, files)
    config = str(ROOT / "deploy/start/home.toml")
    assert main(["feed", "mqtt", "--config", config, "--mapping", mapping, "--check", sample]) == 0
    shown = capsys.readouterr().out
    assert shown.count("-> sensors (sensor)") >= 2
    assert set(re.findall(r"^  key +(\S+)", shown, re.MULTILINE)) == {"my-home"}


def test_the_model_that_ships_reads_every_field(files: tuple[Path, Path]) -> None:
    """None has a name or a word that it does not know, and each message tells it a number."""
    told = json.loads((folder_of("shipped:home") / "config.json").read_text(encoding="utf-8"))
    columns = [Column(field, word) for field, word in zip(told["channels"], told["channel_words"], strict=True)]
    mapping = mapping_of(files[0])
    translator = Translator(mapping, {"sensor": ("sensors", "home.sensors")}, "/test")
    reads = [translator.read(message) for message in messages_in(files[1])]
    for read in reads:
        assert read is not None
        if not read.rule.skip:
            body = translator.event(read, {})[0].body
            assert json.loads(body).keys() <= {column.field for column in columns}
            assert read_sensor(body, columns, "sensors").nansum() > 0
