"""One secured broker for all cases of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.security.cases import IN, OUT, USERS, least, settings, without_each
from tests.security.secured import SecuredKafka, open_kafka
from worker.demo.kafka import fetch_jars


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with a listener for each way in; its users have exactly the rights that their names say."""
    from pathlib import Path

    jars = fetch_jars(Path(os.environ.get("FUSION_CACHE", ROOT / ".cache")), print)
    with open_kafka(jars, tmp_path_factory.mktemp("secured"), USERS) as opened:
        opened.create({**dict.fromkeys(IN, 2), **dict.fromkeys(OUT, 1)})
        opened.let_in("least")
        every = least(settings({}))
        opened.allow("least", every)
        for user, rights in without_each(every).items():
            opened.allow(user, rights)
        yield opened
