"""What sources of live feeds that cannot be had are said to be."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from worker.errors import ConfigError
from worker.feeds.messages.command import chosen_file
from worker.feeds.messages.onvif import OnvifCamera
from worker.feeds.video.container import Unplayable, opened


def test_a_host_that_there_is_not_is_told_in_words_without_the_password() -> None:
    """PyAV calls it an input/output error."""
    with pytest.raises(Unplayable) as error:
        opened("rtsp://joe:s3cret@no-such-host.invalid/stream")
    assert "there is no host 'no-such-host.invalid'" in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("address", ["junction-12", "rtsp://junction-12/x", "http://", "http://a:b@c:99999"])
def test_what_is_no_address_of_an_onvif_camera_is_refused(address: str) -> None:
    """A name alone would be asked for without end."""
    nothing: Any = None
    with pytest.raises(ConfigError, match="SOURCE: gate: an ONVIF camera is http://USER:PASSWORD@HOST:PORT"):
        OnvifCamera("gate", address, nothing, nothing, nothing)


def test_a_preset_and_a_mapping_are_one_too_many() -> None:
    """And none is too few."""
    with pytest.raises(ConfigError, match="or --mapping FILE, not both"):
        chosen_file(Namespace(kind="mqtt", preset="frigate", mapping="mine.toml"))
    with pytest.raises(ConfigError, match=r"or --mapping FILE$"):
        chosen_file(Namespace(kind="mqtt", preset=None, mapping=None))
