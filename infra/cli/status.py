"""`turnout status`: circuits, health, budgets, workers and lag, from the log alone."""

import contextlib
from typing import TYPE_CHECKING, Any

import typer

from infra.cli.options import AsJson, Config, codec_of, print_json, print_table, run, settings_of

if TYPE_CHECKING:
    from schemas.inforce import InForce
    from streams.past import PastState
    from streams.settings import Settings
    from streams.view import StateView

    Known = StateView | PastState

MINUTE_US = 60_000_000
RECENT_MINUTES = 5
# A worker publishes its load every second; this machine's clock may be off by a little.
LOAD_LIFE_US = 10_000_000
Rows = list[dict[str, Any]]


def status(config: Config = None, as_json: AsJson = False) -> None:
    """Show circuits, health, budgets, workers and consumer lag.

    \b
    Example:
      turnout status --config turnout.yaml
    """
    document = run(_status(settings_of(config)))
    if as_json:
        print_json(document, indent=True)
        return
    for name, rows in document.items():
        typer.echo(f"{name}:")
        if not isinstance(rows, list):
            typer.echo(f"  {rows}\n")
        elif rows:
            print_table(tuple(rows[0]), [[_cell(value) for value in row.values()] for row in rows])
            typer.echo("")
        else:
            typer.echo("  none\n")


async def _status(settings: "Settings") -> dict[str, Any]:
    import asyncio

    from infra.cli.reading import read_control, read_state
    from streams.clock import BrokerClock
    from streams.reader import group_less

    codec, servers, now = await codec_of(settings), settings.kafka.access, BrokerClock().now()
    async with group_less(servers) as consumer:
        inforce = (await read_control(consumer, settings, codec)).current
        view = await read_state(consumer, settings, codec)
    return {
        "control": f"offset {inforce.offset}, {'applied' if inforce.applied else 'nothing applied yet'}",
        "deployments": deployment_rows(inforce, view, now),
        "budgets": budget_rows(inforce, view, now),
        "sla": sla_rows(view),
        "alerts": alert_rows(view),
        "workers": worker_rows(view, now),
        "lag": await _lag(settings, view),
        "paused": await asyncio.to_thread(_paused, settings),
    }


def deployment_rows(inforce: "InForce", view: "Known", now: int) -> Rows:
    """Circuit and health of each deployment in force; rates over the last minutes."""
    from projections.histogram import quantile
    from schemas.merge import merge_counts
    from schemas.state import CircuitState, HealthState
    from schemas.units import iso

    rows = []
    for deployment in inforce.configuration.catalog.deployments:
        circuit = view.circuits.get(deployment.id, CircuitState())
        buckets = [
            bucket for bucket in view.health.get(deployment.id, HealthState()).buckets
            if bucket.minute > now // MINUTE_US - RECENT_MINUTES
        ]  # fmt: skip
        succeeded, failed = sum(b.succeeded for b in buckets), sum(b.failed for b in buckets)
        latency: dict[int, int] = {}
        for bucket in buckets:
            latency = merge_counts(latency, bucket.latency)
        calls = succeeded + failed
        rows.append({
            "deployment": deployment.id,
            "circuit": circuit.status,
            "forced": inforce.forced.get(deployment.id),
            "service": "off" if deployment.id in inforce.switched_off else "on",
            "open_until": iso(circuit.open_until) if circuit.status == "open" and circuit.open_until else None,
            "reason": circuit.reason or None,
            "calls": calls,
            "success_rate": round(succeeded / calls, 4) if calls else None,
            "p95_ms": round(quantile(latency, 0.95), 1) if latency else None,
        })  # fmt: skip
    return rows


def budget_rows(inforce: "InForce", view: "Known", now: int) -> Rows:
    """US dollars; `crossed`: the highest threshold crossed in this period, percent."""
    from schemas.merge import period_start
    from schemas.state import BudgetState
    from schemas.units import nano_to_usd

    rows = []
    for budget in inforce.budgets:
        judged = view.budgets.get(budget.subject, BudgetState())
        zone = inforce.zones.get(budget.scope.removeprefix("tenant:"), "") if budget.scope != "global" else ""
        current = judged.period_start >= period_start(budget.period, now, zone)
        crossed = max(judged.crossed, 100 if judged.exhausted else 0)
        rows.append({
            "scope": budget.scope,
            "period": budget.period,
            "limit_usd": budget.limit_usd,
            "spent_usd": nano_to_usd(view.spend.spent(budget.scope, budget.period, now)),
            "reserved_usd": nano_to_usd(view.spend.reserved(budget.scope)),
            "crossed": crossed if current else 0,
            "at_limit": budget.at_limit,
        })  # fmt: skip
    return rows


def sla_rows(view: "StateView") -> Rows:
    """Every target as it was last measured; `burn`: how many times faster than allowed errors come."""
    return [
        {
            "metric": sla.metric,
            "scope": sla.scope,
            "window_s": sla.window_s,
            "value": sla.value / 1e6 if sla.value >= 0 else None,
            "target": sla.target / 1e6,
            "status": sla.status,
            "breach": f"#{sla.number}" if sla.severity else None,
            "sample": sla.sample,
            "burn": sla.burn / 1000 if sla.burn >= 0 else None,
            "burn_now": sla.burn_short / 1000 if sla.burn_short >= 0 else None,
        }
        for _, sla in sorted(view.sla.items())
    ]


def alert_rows(view: "StateView") -> Rows:
    """Alerts that are open; `undelivered`: changes that a webhook still has to hear of."""
    from schemas.units import iso

    return [
        {
            "alert": f"{name}#{alert.number}",
            "severity": alert.severity,
            "since": iso(alert.raised_at),
            "count": alert.count,
            "undelivered": len(alert.pending),
            "text": alert.text,
        }
        for name, alert in sorted(view.alerts.items())
        if alert.open
    ]


def worker_rows(view: "StateView", now: int) -> Rows:
    """Workers that published a load just now."""
    return [
        {"worker": load.worker, "in_flight": sum(load.in_flight.values()), "by_deployment": load.in_flight}
        for load in sorted(view.loads.values(), key=lambda load: load.worker)
        if now - load.sent_at < LOAD_LIFE_US
    ]


async def _lag(settings: "Settings", view: "StateView") -> Rows:
    """Records that the router has not committed and the projector has not folded, by topic."""
    from aiokafka import TopicPartition

    from streams.reader import group_less, partitions_of
    from streams.topics import EVENT_KINDS, admin_client, topics_of

    topics = topics_of(settings)
    groups = {
        "router": [topic.name for topic in topics.requests],
        "projector": [topics.name(kind) for kind in (*EVENT_KINDS, "feedback")],
    }
    # The projector resumes from its cursors, never from its group's commits.
    cursors = {(s.topic, s.partition): s.offset + 1 for s in view.snapshots.values() if s.kind == "cursor"}
    rows: Rows = []
    admin = await admin_client(settings.kafka.access)
    try:
        async with group_less(settings.kafka.access) as consumer:
            for group, names in groups.items():
                committed = await _committed(admin, f"{topics.prefix}turnout-{group}")
                if group == "projector":
                    committed |= {TopicPartition(*place): offset for place, offset in cursors.items()}
                for name in names:
                    partitions = await partitions_of(consumer, name)
                    ends = await consumer.end_offsets(partitions)
                    begins = await consumer.beginning_offsets(partitions)
                    done = {p: max(begins[p], committed.get(p, 0)) for p in partitions}
                    lags = {p.partition: max(0, ends[p] - done[p]) for p in partitions}
                    slowest = max(lags, key=lambda partition: lags[partition])
                    rows.append({
                        "group": group, "topic": name, "lag": sum(lags.values()),
                        "slowest_partition": slowest if lags[slowest] else None,
                    })  # fmt: skip
    finally:
        await admin.close()
    return rows


async def _committed(admin: Any, group: str) -> dict[Any, int]:
    from aiokafka.errors import KafkaError

    try:
        found = await admin.list_consumer_group_offsets(group)
    except KafkaError:
        # A group that never was has no coordinator to ask.
        return {}
    return {partition: meta.offset for partition, meta in found.items() if meta.offset >= 0}


def _paused(settings: "Settings") -> Any:
    """Partitions that the workers of this machine have paused, where their pages answer: web.port, and the next one where
    `turnout up` runs the projector beside the router."""
    import httpx

    if not settings.web.port:
        return "not visible: web.port is 0"
    pages = []
    for port in (settings.web.port, settings.web.port + 1):
        with contextlib.suppress(httpx.HTTPError, ValueError):
            pages.append(httpx.get(f"http://127.0.0.1:{port}/health", timeout=2.0, trust_env=False).json())
    paused = [page["paused"] for page in pages if isinstance(page, dict) and isinstance(page.get("paused"), dict)]
    if not paused:
        return f"not visible: no worker answers on port {settings.web.port} of this machine"
    return [{"partition": name, "reason": reason} for page in paused for name, reason in page.items()]


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={count}" for name, count in value.items())
    return "" if value is None else str(value)
