"""`turnout report forecast` over a real engine and its door: hourly charges become forecasts, limits stand beside them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from fold_events import incurred
from loop import catalog, settings_for, write_settings

from infra.cli.main import run_command
from infra.ports import free_port
from infra.sql import Engine, start_door
from projections.clickhouse.container import block_of
from projections.clickhouse.forecasts import Forecaster
from projections.clickhouse.migrate import migrate
from projections.clickhouse.rows import row_of
from projections.clickhouse.writer import Writer
from schemas.events import ConfigurationApplied
from schemas.inforce import digest_of, document_of
from schemas.policy import Configuration
from schemas.units import NANO

DAYS = 20


async def test_the_command_forecasts_what_sql_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # In the past, so that nothing is out of retention; every day at noon acme pays a dollar, globex half of one.
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    noons = [day - timedelta(days=DAYS - 1 - k) + timedelta(hours=12) for k in range(DAYS)]
    rows, count = [], 0
    for noon in noons:
        for tenant, nano in (("acme", NANO), ("globex", NANO // 2)):
            event = incurred(event_id=f"e{count}", cost_id=f"c{count}", tenant=tenant, provider="openai", nano_usd=nano)
            rows.append(row_of("costs", "llm.costs", 0, count, int(noon.timestamp()) * 1_000_000, event))
            count += 1
    document = document_of(Configuration.model_validate({
        "budgets": [{"scope": "tenant:acme", "period": "day", "limit_usd": 3}],
    }))  # fmt: skip
    applied = ConfigurationApplied(
        event_id="c", occurred_at=0, worker="w", author="me", document=document, digest=digest_of(document)
    )
    rows.append(row_of("control", "llm.control", 0, 0, int(noons[0].timestamp()) * 1_000_000, applied))
    settings = settings_for(
        "127.0.0.1:1", "llm", catalog("http://127.0.0.1:1", {"a": "primary"}), sql={"port": free_port()}
    )
    config = str(write_settings(settings, tmp_path / "turnout.json"))
    with Engine(tmp_path / "sql") as engine:
        client = engine.client()
        migrate(client)
        writer = Writer(client, "s")
        writer.write({("llm.costs", 0): (0, count - 1), ("llm.control", 0): (0, 0)}, [block_of(row) for row in rows])
        writer.finish()
        # Every five minutes the sink does this; the budget's own forecast stands beside what it has spent.
        six = int((day + timedelta(hours=6)).timestamp()) * 1_000_000
        assert [Forecaster(client).refresh(six) for _ in range(2)] == [1, 1]
        ((point, low, high),) = client.query(
            "SELECT forecast_usd, forecast_low_usd, forecast_high_usd FROM turnout.budgets WHERE scope = 'tenant:acme'"
        ).result_rows
        client.close()
        async with await start_door(engine, port=settings.sql.port):

            async def said(*command: str) -> str:
                capsys.readouterr()
                whole = ["report", "forecast", "--period", "day", *command, "--config", config]
                assert await asyncio.to_thread(run_command, whole) == 0
                return capsys.readouterr().out

            morning: dict[str, Any] = orjson.loads(await said("--at", f"{day:%Y-%m-%d}T06:00", "--json"))
            text = await said("--at", f"{day:%Y-%m-%d}T06:00")
            early = orjson.loads(await said("--at", f"{noons[1]:%Y-%m-%d}T06:00", "--json"))
    scopes = {row["scope"]: row for row in morning["scopes"]}
    assert list(scopes) == ["deployment:d1", "global", "provider:openai", "tenant:acme", "tenant:globex"]
    for scope, dollars in (("global", 1.5), ("provider:openai", 1.5), ("tenant:acme", 1.0), ("tenant:globex", 0.5)):
        row = scopes[scope]
        assert row["spent_usd"] == 0
        assert row["forecast_usd"] == pytest.approx(dollars, rel=0.03)
        assert row["low_usd"] <= dollars <= row["high_usd"]
    assert [scopes[scope]["limit_usd"] for scope in ("tenant:acme", "global")] == [3, None]
    assert f"as of {day:%Y-%m-%d} 06:00:00" in text
    assert "tenant:globex" in text
    # A day of history is not enough.
    assert {row["forecast_usd"] for row in early["scopes"]} == {None}
    acme = scopes["tenant:acme"]
    assert [float(point), float(low), float(high)] == [acme["forecast_usd"], acme["low_usd"], acme["high_usd"]]
