"""Months of raw events that are dropped: what they came to stays, is not called drift, and outlives a repair."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.bench.sink_log import requests_log
from infra.sql.engine import Engine
from projections.clickhouse.container import block_of
from projections.clickhouse.migrate import migrate
from projections.clickhouse.retention import RAW, Retention, kept_since
from projections.clickhouse.rows import Row, row_of
from projections.clickhouse.writer import Writer
from schemas.errors import ConfigurationError
from schemas.units import MICROS_PER_S
from streams.loading import load_settings

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
MONTHS = [datetime(2026, 2, 5, 9, tzinfo=UTC), *(datetime(2025, month, 5, 9, tzinfo=UTC) for month in (12, 11, 10))]
# Accepted in the last second of a month that goes, written in the one that stays.
EDGE = datetime(2025, 11, 30, 23, 59, 59, 900_000, tzinfo=UTC)
MONEY = (
    "SELECT sum(charges), sum(nano_usd), (SELECT sum(succeeded) FROM turnout.provider_minute) FROM turnout.tenant_hour"
)


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * MICROS_PER_S)


def rows() -> list[Row]:
    """Ten requests accepted at each of the moments, a second apart, and written one after the other 10 ms later."""
    found: list[Row] = []
    for number, moment in enumerate([*MONTHS, EDGE]):
        for _, (kind, event) in requests_log(10, 1, micros(moment), 1.0, first=number * 10):
            at = event.accepted_at + 10_000 if moment != EDGE else micros(EDGE) + 200_000
            found.append(row_of(kind, f"llm.{kind}", 0, len(found), at, event))
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "sql") as engine, contextlib.closing(engine.client()) as client:
        migrate(client)
        written = rows()
        Writer(client, "s").write({("llm.log", 0): (0, len(written) - 1)}, [block_of(row) for row in written])
        yield engine


def months_of(engine: Engine, table: str) -> list[str]:
    sql = f"SELECT DISTINCT partition FROM system.parts WHERE database = 'turnout' AND table = '{table}' AND active ORDER BY 1"
    return engine.execute(sql).decode().split()


def test_old_months_go_and_their_money_stays(engine: Engine) -> None:
    money = engine.execute(MONEY)
    with contextlib.closing(engine.client()) as client:
        dropped = Retention(client, 2).prune(micros(NOW))
        assert Retention(client, 2).prune(micros(NOW)) == []
        assert dropped[:2] == ["answers_by_time/202510", "attempts_by_time/202510"]
        for table in set(RAW) - {"estimates_by_time"}:
            assert months_of(engine, table) == ["202512", "202602"]
        # Nine of EDGE's were accepted in the month that stays.
        assert engine.execute("SELECT count(), min(hour) FROM turnout.requests") == b"29\t2025-12-01 00:00:00\n"
        assert engine.execute(MONEY) == money
        assert engine.execute("SELECT count() FROM turnout.drift") == b"0\n"


def test_a_repair_leaves_what_it_could_not_rebuild(engine: Engine) -> None:
    money = engine.execute(MONEY)
    with contextlib.closing(engine.client()) as client:
        Retention(client, 2).prune(micros(NOW))
        engine.execute(
            "INSERT INTO turnout.tenant_hour SELECT * FROM turnout.tenant_hour WHERE hour >= '2026-02-01 00:00:00'"
            " SETTINGS insert_deduplicate = 0"
        )
        writer = Writer(client, "s")
        assert engine.execute(MONEY) != money and writer.drifted() == ("tenant_hour",)
        writer.repair()
        assert engine.execute(MONEY) == money and writer.drifted() == ()


@pytest.mark.parametrize(
    ("now", "months", "since"),
    [
        (NOW, 1, datetime(2026, 1, 1, tzinfo=UTC)), (NOW, 2, datetime(2025, 12, 1, tzinfo=UTC)),
        (NOW, 14, datetime(2024, 12, 1, tzinfo=UTC)),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), 12, datetime(2025, 12, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_whole_months_are_kept(now: datetime, months: int, since: datetime) -> None:
    assert kept_since(micros(now), months) == since


def test_a_retention_shorter_than_kafkas_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("sql: {retention_months: 1}\n")
    with pytest.raises(
        ConfigurationError, match=r"keeps 28 days and more, and Kafka 40 days .* raise it to 2, or to 0"
    ):
        load_settings(file)
    file.write_text("sql: {retention_months: 2}\n")
    assert load_settings(file).sql.retention_months == 2
