"""What does not fit together in the settings, which no single key shows."""

from collections.abc import Iterator, Sequence

from projections.measure import HIGHER_IS_BETTER
from schemas.catalog import Problem
from streams.settings import Settings
from streams.topics import topics_of

PERIOD_DAYS = {"hour": 1, "day": 1, "week": 7, "month": 31}
MARGIN_DAYS = 7
LONGEST_TOPIC_NAME = 249


def inconsistencies(settings: Settings) -> Iterator[Problem]:
    """Where, and what to do about it."""
    for place, _ in _again([budget.subject for budget in settings.budgets]):
        yield ("budgets", place), "it has the scope and period of an earlier one; remove one"
    for field in ("id", "topic"):
        for place, value in _again([getattr(tenant, field) for tenant in settings.tenants]):
            yield ("tenants", place, field), f"an earlier tenant has {value} already; use another"
    for place, target in enumerate(settings.sla):
        limits = [limit for limit in (target.target, target.warning, target.critical) if limit is not None]
        if limits != sorted(limits, reverse=target.metric in HIGHER_IS_BETTER):
            said = f"it warns of {target.metric} before the target is missed; target, warning and critical go from good to bad"
            yield ("sla", place), said
    yield from _topic_names(settings)
    yield from _retention(settings)
    yield from _drain(settings)


def too_short(days: int, periods: Sequence[str]) -> str | None:
    """What is wrong with so many days of events for budgets of these periods."""
    needed = max((PERIOD_DAYS.get(period, 0) for period in periods), default=0) + MARGIN_DAYS
    if not periods or days >= needed:
        return None
    return f"{days} is too short: the longest budget period needs {needed} (its days + {MARGIN_DAYS}); raise it"


def _again(values: Sequence[str | None]) -> Iterator[tuple[int, str]]:
    """Where a value stands that an earlier place has."""
    seen = set[str]()
    for place, value in enumerate(values):
        if value is None:
            continue
        if value in seen:
            yield place, value
        seen.add(value)


def _topic_names(settings: Settings) -> Iterator[Problem]:
    longest = max(map(len, topics_of(settings).all()))
    if longest > LONGEST_TOPIC_NAME:
        said = f"it makes a topic of {longest} letters, and Kafka takes {LONGEST_TOPIC_NAME}; shorten it or a tenant's topic"
        yield ("kafka", "topic_prefix"), said


def _retention(settings: Settings) -> Iterator[Problem]:
    least, kafka = settings.sql.retention_months * 28, settings.kafka.event_retention_days
    if said := too_short(kafka, [budget.period for budget in settings.budgets]):
        yield ("kafka", "event_retention_days"), said
    # A sink that reads Kafka from its start again rebuilds its rollups from raw events: all of those have to be there.
    if 0 < least < kafka:
        said = f"it keeps {least} days and more, and Kafka {kafka} days (kafka.event_retention_days)"
        yield ("sql", "retention_months"), f"{said}; raise it to {-(-kafka // 28)}, or to 0, which keeps all"


def _drain(settings: Settings) -> Iterator[Problem]:
    worker = settings.worker
    least, bound = worker.drain_s + worker.session_timeout_s, worker.rebalance_timeout_s
    # A member may hear of a rebalance a session late, then it drains: whoever joins after the bound has lost its partitions.
    if least > bound:
        said = f"with session_timeout_s it comes to {least:g}, and rebalance_timeout_s is {bound:g}; raise that or lower them"
        yield ("worker", "drain_s"), said
