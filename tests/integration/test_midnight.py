"""Charges around a midnight of broker time: the budgets, the sum of the costs and the fold agree to the nano-dollar."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from sql_story import CONFIGURATION, charged, command, of

from projections.clickhouse.container import block_of
from projections.clickhouse.migrate import migrate
from projections.clickhouse.rows import Row, row_of
from projections.clickhouse.writer import Writer
from projections.fold import LogRecord
from projections.spend import SpendFold
from schemas.events import ConfigurationApplied, CostIncurred, CostReserved
from schemas.ids import Source
from schemas.inforce import InForce, digest_of, document_of
from schemas.merge import period_start
from schemas.policy import Configuration
from schemas.state import SpendState
from schemas.units import MICROS_PER_S

TODAY = period_start("day", time.time_ns() // 1000)
"""SQL judges the period that runs now, so the midnight is that of today."""
HALF_HOUR = 1_800 * MICROS_PER_S
TENANTS, DEPLOYMENTS = ("acme", "globex"), ("d0", "d1", "d2")
FOLD = SpendFold()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = clickhouse_connect.get_client(interface="chdb", path=str(tmp_path))
    migrate(client)
    yield client
    client.close()


def night(seed: int, calls: int = 400) -> list[tuple[int, CostReserved | CostIncurred]]:
    """Reservations and charges by broker time, from half an hour before midnight to half an hour after. Some charges are
    their worker's estimates; some reservations expired, which is written twice, and some of those are settled later, on
    either side of midnight."""
    rng = random.Random(seed)
    moments = [TODAY - 1, TODAY, TODAY + 1]
    log: list[tuple[int, CostReserved | CostIncurred]] = []
    for number in range(calls):
        source, tenant = Source("llm.requests", seed, number), rng.choice(TENANTS)
        at = moments[number] if number < len(moments) else TODAY + rng.randrange(-HALF_HOUR, HALF_HOUR)
        kind = rng.choice(("certain", "certain", "estimated", "expired"))
        certainty = "certain" if kind == "certain" else "estimated"
        cost = replace(
            charged(source, 0, 1, rng.choice(DEPLOYMENTS), rng.randrange(1, 10**9), certainty), tenant=tenant
        )
        reserved = CostReserved(
            **of(source, 0, tenant=tenant), cost_id=cost.cost_id, number=1, nano_usd=10**9, deployment=cost.deployment,
            provider="openai", model="m", deadline_at=at,
        )  # fmt: skip
        if kind == "expired":
            cost = replace(cost, worker="")
        log += [(at - 1, reserved), (at, cost)]
        if kind == "expired":
            # Two projectors may both see a reservation expire; a certain charge is written by its one worker alone.
            log.append((at + rng.randrange(HALF_HOUR), cost))
            if rng.random() < 0.5:
                settled = replace(cost, certainty="certain", nano_usd=rng.randrange(1, 10**9))
                log.append((at + rng.randrange(HALF_HOUR), settled))
    return sorted(log, key=lambda one: one[0])


@pytest.mark.parametrize("seed", [1, 2])
def test_budgets_costs_and_fold_agree_across_midnight(client: Client, seed: int) -> None:
    scopes = ["global", *(f"tenant:{tenant}" for tenant in TENANTS)]
    budgets_of = [{"scope": scope, "period": "day", "limit_usd": 1_000} for scope in scopes]
    catalog = CONFIGURATION.catalog.model_dump(mode="json")
    document = document_of(Configuration.model_validate({"catalog": catalog, "budgets": budgets_of}))
    log, states = night(seed), dict.fromkeys(TENANTS, SpendState())
    rows: list[Row] = [
        row_of("control", "llm.control", 0, 0, 1, ConfigurationApplied(**command(), document=document,
                                                                       digest=digest_of(document)))
    ]  # fmt: skip
    for offset, (at, event) in enumerate(log):
        rows.append(row_of("costs", "llm.costs", seed, offset, at, event))
        states[event.tenant], _ = FOLD.step(
            states[event.tenant], LogRecord("llm.costs", seed, offset, at, event), InForce()
        )
    Writer(client, f"s{seed}").write({("llm.costs", seed): (0, len(log) - 1)}, [block_of(row) for row in rows])

    budgets = dict(client.query("SELECT scope, spent_usd FROM turnout.budgets WHERE period = 'day'").result_rows)
    costs = dict(
        client.query(
            "SELECT tenant, sum(nano_usd) FROM turnout.costs WHERE logged_at >= fromUnixTimestamp64Micro({at:Int64})"
            " GROUP BY tenant",
            parameters={"at": TODAY},
        ).result_rows
    )
    usd = Decimal("0.000000001")
    for tenant in TENANTS:
        spent = states[tenant].periods("tenant")["day"]
        assert spent.start == TODAY
        assert spent.spent > 0
        assert budgets[f"tenant:{tenant}"] == costs[tenant] * usd == spent.spent * usd
    assert budgets["global"] == sum(costs.values()) * usd
