"""Fixtures of all tests: one real broker a session, and names that no other test uses."""

import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from infra.kafka import EmbeddedKafka
from infra.ports import free_port


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A running broker on a free port. Leave it running: a test that stops or freezes one starts its own."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), port=free_port()) as broker:
        yield broker


@pytest.fixture
def prefix() -> str:
    """A topic prefix of this test's own, such as "t3f9a1c." """
    return f"t{secrets.token_hex(3)}."


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stream-cuts", type=int, default=60, help="How many seeded streams are cut; 60 by default.")
    parser.addoption(
        "--decisions", type=int, default=1_000, help="How many decisions are made again; 1,000 by default."
    )
    parser.addoption("--cases", type=int, default=100, help="How many cases a property generates; 100 by default.")


def pytest_configure(config: pytest.Config) -> None:
    # No deadline: a slow machine is no defect.
    too_slow = [HealthCheck.too_slow]
    settings.register_profile(
        "cases", max_examples=config.getoption("--cases"), deadline=None, suppress_health_check=too_slow
    )
    settings.load_profile("cases")
