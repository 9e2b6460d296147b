"""Fixtures of the tests that call a provider over a real socket."""

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from peer import CANARY, TLS

from agents.execution.client import Caller
from agents.execution.credentials import Credentials


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    """A caller whose KEY has the blanks that a file leaves around it."""
    one = Caller(Credentials({"KEY": f" {CANARY}\n"}), tls=TLS)
    yield one
    await one.aclose()


@pytest.fixture
def no_key_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """At the end of the test no log of any level holds the key or what was asked."""
    caplog.set_level(logging.DEBUG)
    yield
    assert CANARY not in caplog.text
    assert "secret prompt" not in caplog.text
