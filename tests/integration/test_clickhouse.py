"""Migrations, views and the writer on a real engine."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from sql_story import FIRST, TWICE, USD, WAITING, Log, completed, of, story

from projections.clickhouse.cluster import clustered
from projections.clickhouse.migrate import migrate, migrations, statements
from projections.clickhouse.queries import QUERIES
from projections.clickhouse.writer import Writer
from schemas.errors import OperationError
from schemas.events import RequestDeduplicated
from schemas.ids import Source


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    path: Path = tmp_path_factory.mktemp("chdb")
    client = clickhouse_connect.get_client(interface="chdb", path=str(path))
    assert migrate(client)
    assert migrate(client) == []
    writer = Writer(client, "s")
    writer.write(STORY.ranges, STORY.blocks)
    writer.finish()
    yield client
    client.close()


STORY = story()
TABLES = (
    "answers_by_time", "attempts_by_time", "charges_by_time", "choices_by_time", "provider_minute", "tenant_hour", "state_fold",
    "held_fold", "notices",
)  # fmt: skip


def ask(client: Client, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]


def test_requests_take_the_first_outcome_and_pay_for_every_run(client: Client) -> None:
    rows = ask(
        client,
        "SELECT request_id, status, deployment, attempts, fallback, latency_ms, task, strategy, cost_usd,"
        " source FROM turnout.requests ORDER BY request_id",
    )
    assert rows == [
        ("r-1", "ok", "d2", 2, True, 20.0, "code", "cost", 400 * USD, str(FIRST)),
        ("r-2", "ok", "d0", 1, False, 24.0, "code", "cost", 2_011 * USD, str(TWICE)),
        ("r-3", "running", "", 0, False, 0.0, "code", "cost", 77 * USD, str(WAITING)),
    ]


def test_attempts(client: Client) -> None:
    rows = ask(
        client,
        "SELECT request_id, run, number, deployment, tier, outcome, failure, http_status, latency_ms,"
        " cost_usd FROM turnout.attempts ORDER BY request_id, run, number",
    )
    assert rows == [
        ("r-1", 0, 1, "d0", "primary", "failed", "rate_limited", 429, 5.0, 0),
        ("r-1", 0, 2, "d2", "secondary", "succeeded", "", 200, 100.0, 400 * USD),
        ("r-2", 4, 1, "d0", "primary", "succeeded", "", 200, 100.0, 1_004 * USD),
        ("r-2", 7, 1, "d1", "primary", "succeeded", "", 200, 100.0, 1_007 * USD),
        ("r-3", 4, 1, "d1", "primary", "started", "", 0, 0.0, 77 * USD),
    ]


def test_decisions_name_deployments_by_the_catalog_in_force(client: Client) -> None:
    ((plan, candidates, excluded, estimates, reasons),) = ask(
        client, "SELECT plan, candidates, excluded, estimates, reasons FROM turnout.decisions WHERE request_id = 'r-1'"
    )
    assert [step["deployment"] for step in plan] == ["d0", "d2"]
    assert candidates == ["d0", "d2"]
    assert (excluded[0]["deployment"], excluded[0]["reason"]) == ("d1", "circuit_open")
    assert (estimates, reasons) == ([1.0, 1.0], ["cheapest"])


def test_costs_hold_one_charge_a_cost_id(client: Client) -> None:
    rows = ask(
        client, "SELECT request_id, certainty, nano_usd, price_version FROM turnout.costs ORDER BY request_id, run"
    )
    assert rows == [
        ("r-1", "certain", 400, "p1"), ("r-2", "certain", 1_004, "p1"), ("r-2", "certain", 1_007, "p1"),
        ("r-3", "estimated", 77, "p1"),
    ]  # fmt: skip
    assert ask(
        client, "SELECT tenant, provider, model, sum(charges), sum(cost_usd) FROM turnout.tenant_costs GROUP BY ALL"
    ) == [("acme", "openai", "m", 4, 2_488 * USD)]


def test_provider_health(client: Client) -> None:
    rows = ask(
        client,
        "SELECT deployment, sum(requests), sum(success_rate * requests), max(p99_ms), sum(rate_limited),"
        " sum(cost_usd) FROM turnout.provider_health GROUP BY deployment ORDER BY deployment",
    )
    assert rows == [
        ("d0", 2, 1.0, 100.0, 1, 1_004 * USD),
        ("d1", 1, 1.0, 100.0, 0, 1_084 * USD), ("d2", 1, 1.0, 100.0, 0, 400 * USD),
    ]  # fmt: skip


def test_circuits_and_their_transitions(client: Client) -> None:
    rows = ask(
        client,
        "SELECT deployment, status, epoch, failures, trips, open_until IS NULL"
        " FROM turnout.circuits ORDER BY deployment",
    )
    assert rows == [("d0", "closed", 0, 0, 0, 1), ("d1", "open", 3, 5, 1, 0), ("d2", "closed", 0, 0, 0, 1)]
    assert ask(client, "SELECT deployment, status, epoch, reason FROM turnout.circuit_transitions") == [
        ("d1", "open", 3, "5 failures")
    ]


def test_budgets_are_exact_to_the_nano_dollar(client: Client) -> None:
    rows = ask(
        client,
        "SELECT scope, period, limit_usd, spent_usd, reserved_usd, threshold, forecast_usd"
        " FROM turnout.budgets ORDER BY scope",
    )
    assert rows == [
        ("global", "month", 7, 2_488 * USD, 250 * USD, 0, None),
        ("tenant:acme", "month", 10_000 * USD, 2_488 * USD, 250 * USD, 50, None),
    ]  # fmt: skip


def test_state_keeps_the_furthest_snapshot_and_forgets_removed_ones(client: Client) -> None:
    assert ask(client, "SELECT kind, subject, epoch, offset FROM turnout.state ORDER BY kind") == [
        ("circuit", "d1", 5, 9), ("spend", "acme", 5, 4),
    ]  # fmt: skip


def test_what_could_not_be_read(client: Client) -> None:
    assert ask(client, "SELECT reason, source, length FROM turnout.dead_letters") == [
        ("not JSON", "llm.requests-0-4", 3)
    ]
    assert ask(client, "SELECT topic, reason, length FROM turnout.ingest_errors") == [("llm.costs", "no schema", 12)]
    assert ask(client, "SELECT count() FROM turnout.events") == [(len(STORY.blocks) - 7,)]


def test_every_named_query_runs(client: Client) -> None:
    since = datetime(2026, 1, 1)
    for sql in QUERIES.values():
        ask(client, sql, since=since, request_id="r-1", minutes=60, until=since, before=since, slow=0.0, scope="global", width=60,
            breach="success_rate/global/900#1", period="month")  # fmt: skip
    (summary,) = ask(client, QUERIES["summary"], since=since)
    assert summary[:5] == (3, 2, 0, 1, 1)
    assert ask(client, QUERIES["integrity"]) == [(0, 1, 0, 1)]


def fingerprint(client: Client) -> list[object]:
    """Sums that grow if any row is counted twice, whatever is merged meanwhile."""
    sums = (
        "SELECT sum(charges), sum(nano_usd) FROM turnout.tenant_hour",
        "SELECT sum(succeeded), sum(nano_usd) FROM turnout.provider_minute",
        *(f"SELECT count() FROM turnout.{table} FINAL" for table in TABLES),
    )
    return [ask(client, sql) for sql in sums]


def test_a_replayed_intent_changes_nothing(client: Client) -> None:
    before = fingerprint(client)
    restarted = Writer(client, "s")
    intent = restarted.last_intent()
    assert intent is not None
    assert (intent.done, intent.ranges, restarted.alert) == (True, STORY.ranges, "")
    assert restarted.positions() == {(f"llm.{kind}", 0): end for kind, end in STORY.ends.items()}
    restarted.write(intent.ranges, STORY.blocks)
    assert fingerprint(client) == before
    assert ask(client, "SELECT count() FROM turnout.drift") == [(0,)]


def test_the_last_entry_of_the_journal_knows_every_partition(client: Client) -> None:
    writer = Writer(client, "j")
    writer.write({("llm.a", 0): (0, 4), ("llm.b", 3): (7, 9)}, [])
    writer.write({("llm.a", 0): (5, 5)}, [])
    restarted = Writer(client, "j")
    intent = restarted.last_intent()
    assert intent is not None
    assert (intent.number, intent.done, intent.ranges) == (2, False, {("llm.a", 0): (5, 5)})
    assert restarted.positions() == {("llm.a", 0): 6, ("llm.b", 3): 10}


def test_only_who_wrote_a_batch_says_that_it_is_written(client: Client) -> None:
    ranges = {("llm.a", 0): (0, 4)}
    Writer(client, "f").write(ranges, [])
    standby = Writer(client, "f")
    standby.finish()
    unfinished = standby.last_intent()
    assert unfinished is not None and not unfinished.done
    standby.write(unfinished.ranges, [])
    standby.finish()
    standby.finish()
    after = Writer(client, "f").last_intent()
    assert after is not None and (after.done, after.number, after.ranges) == (True, 1, ranges)


def test_a_batch_whose_rows_were_refused_is_not_said_to_be_written(client: Client) -> None:
    writer = Writer(client, "r")
    with pytest.raises(DatabaseError):
        writer.write({("llm.a", 0): (0, 0)}, [STORY.blocks[0][:-1]])
    writer.finish()
    left = Writer(client, "r").last_intent()
    assert left is not None and not left.done


def test_a_database_of_another_version_is_refused(client: Client) -> None:
    client.insert("turnout.migrations", [["999_later.sql"]], column_names=["name"])
    try:
        with pytest.raises(
            OperationError, match=r"another version of Turnout \(999_later.sql\). Drop it or name another place"
        ):
            migrate(client)
    finally:
        client.command("ALTER TABLE turnout.migrations DELETE WHERE name = '999_later.sql' SETTINGS mutations_sync = 2")
    assert migrate(client) == []


def test_drift_shows_a_rollup_that_counted_twice_and_repair_mends_it(client: Client) -> None:
    before = fingerprint(client)
    for rollup in ("tenant_hour", "provider_minute"):
        client.command(f"INSERT INTO turnout.{rollup} SELECT * FROM turnout.{rollup} SETTINGS insert_deduplicate = 0")
    assert {rollup for (rollup,) in ask(client, "SELECT rollup FROM turnout.drift")} == {
        "tenant_hour",
        "provider_minute",
    }
    writer = Writer(client, "s")
    for _ in range(2):
        writer.repair()
        assert ask(client, "SELECT count() FROM turnout.drift") == [(0,)]
    assert fingerprint(client) == before
    writer.write(STORY.ranges, STORY.blocks)
    assert fingerprint(client) == before


def test_a_duplicate_that_ran_after_all_has_its_own_answer(client: Client) -> None:
    late, log, writer = Source("llm.requests", 1, 4), Log(ends={"decisions": 100}), Writer(client, "late")
    asked = "SELECT status, run FROM turnout.requests WHERE source = {source:String}"
    waited = RequestDeduplicated(**of(late, 4), first_source=WAITING)
    for event, outcome in ((waited, ("deduplicated", 4)), (completed(late, 7, "d1", 1), ("ok", 7))):
        offset = log.ends["decisions"]
        log.add("decisions", event)
        writer.write({("llm.decisions", 0): (offset, offset)}, log.blocks[-1:])
        assert ask(client, asked, source=str(late)) == [outcome]


def test_the_engine_reads_every_statement_as_a_cluster_has_it(client: Client) -> None:
    for sql in migrations().values():
        for statement in statements(sql):
            # It has no Keeper to run them with, but the parser of every ClickHouse server.
            read = ask(client, "SELECT formatQuery({text:String})", text=clustered(statement, "main"))
            assert ("ON CLUSTER main" in read[0][0]) == ("ON CLUSTER 'main'" in clustered(statement, "main"))
