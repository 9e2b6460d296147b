"""Laws of alerts: one at a time for a subject, changes in order, told once, and nobody is told of what stands in no log."""

from fold_events import HOOK, SECOND_HOOK
from fold_logs import Log, alerts_logs, decisions_logs
from fold_world import projection
from hypothesis import given
from hypothesis import strategies as st

from projections.alert import rank
from projections.partition import PartitionProjection
from schemas.events import AlertDelivered, AlertEscalated, AlertEvent, AlertRaised, AlertResolved, RequestCompleted
from schemas.merge import BUCKETS, DAY, HOUR, MINUTE, RequestTotals, merge_requests
from schemas.state import RequestCounts


@given(alerts_logs())
def test_an_alert_is_raised_worsens_and_is_resolved(log: Log) -> None:
    open_now: dict[str, AlertEvent] = {}
    changes: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for events in log.derived:
        for event in events:
            assert isinstance(event, AlertEvent)
            name = f"{event.kind}:{event.subject}"
            assert event.change == changes.get(name, 0) + 1
            changes[name] = event.change
            match event:
                case AlertRaised():
                    assert name not in open_now
                    assert event.number == numbers.get(name, 0) + 1
                    numbers[name] = event.number
                    open_now[name] = event
                case AlertEscalated():
                    assert rank(event.severity) > rank(open_now[name].severity)
                    assert event.alert == open_now[name].alert
                    open_now[name] = event
                case AlertResolved():
                    assert event.severity == open_now.pop(name).severity


@given(alerts_logs())
def test_webhooks_are_owed_what_the_log_holds_and_they_did_not_hear(log: Log) -> None:
    projected = projection("transitions")
    owed: dict[tuple[str, int], set[str]] = {}
    seen: dict[str, int] = {}
    for record in log.records:
        projected.apply(record)
        event = record.event
        if isinstance(event, AlertEvent):
            name = f"{event.kind}:{event.subject}"
            hooks = projected.inforce.configuration.alerts.webhooks
            if event.change > seen.get(name, 0):
                seen[name] = event.change
                told = set() if event.silenced else {
                    hook.name for hook in hooks if rank(hook.min_severity) <= rank(event.severity)
                }  # fmt: skip
                owed[name, event.change] = told
        elif isinstance(event, AlertDelivered):
            owed.get((f"{event.kind}:{event.subject}", event.change), set()).discard(event.webhook)
        pending = {
            (name, change): set(notice.webhooks)
            for name in projected.subjects("alert")
            for change, notice in projected.snapshot("alert", name).pending.items()
        }
        assert pending == {key: names for key, names in owed.items() if names}
    assert all(names <= {HOOK.name, SECOND_HOOK.name} for names in owed.values())


COUNTS = st.builds(
    RequestCounts, st.integers(-1, 50), *[st.integers(0, 9)] * 6, st.dictionaries(st.integers(0, 40), st.integers(1, 5))
)


@given(COUNTS, COUNTS, COUNTS)
def test_counts_merge_in_any_order(a: RequestCounts, b: RequestCounts, c: RequestCounts) -> None:
    assert merge_requests([a, b]) == merge_requests([b, a])
    assert merge_requests([merge_requests([a, b]), c]) == merge_requests([a, merge_requests([b, c])])
    assert merge_requests([a, RequestCounts()]) == a


def put(totals: RequestTotals, number: int, projected: PartitionProjection) -> None:
    for kind in BUCKETS:
        for subject in projected.subjects(kind):
            totals.put(kind, subject, number, projected.snapshot(kind, subject))


@given(st.lists(decisions_logs(), min_size=1, max_size=3), st.data())
def test_windows_hold_exactly_the_requests_logged_in_them(parts: list[Log], data: st.DataObject) -> None:
    totals, projected = RequestTotals(), [projection("decisions") for _ in parts]
    left = [iter(log.records) for log in parts]
    seen: list[tuple[int, str, RequestCompleted]] = []
    for turn in data.draw(st.permutations([i for i, log in enumerate(parts) for _ in log.records])):
        record = next(left[turn])
        projected[turn].apply(record)
        if data.draw(st.integers(0, 5)) == 0:
            put(totals, turn, projected[turn])
        if isinstance(record.event, RequestCompleted):
            seen.append((projected[turn].clock, record.event.tenant, record.event))
    for number, each in enumerate(projected):
        put(totals, number, each)
    now = max(each.clock for each in projected)
    tenants = {tenant for _, tenant, _ in seen}
    assert totals.tenants == sorted(tenants)
    for window_s, width in ((60, MINUTE), (900, MINUTE), (3_600, MINUTE), (7_200, HOUR), (5 * 86_400, DAY)):
        first = now // width - window_s * 1_000_000 // width + 1
        for scope in ("global", *(f"tenant:{tenant}" for tenant in tenants)):
            inside = [
                event for at, tenant, event in seen
                if at // width >= first and scope in ("global", f"tenant:{tenant}")
            ]  # fmt: skip
            found = totals.window(scope, window_s, now)
            assert found.ok + found.failed + found.limited + found.refused == len(inside)
            assert found.ok == sum(event.status == "ok" for event in inside) == sum(found.latency.values())
            assert found.limited == sum(event.code == "throttled" for event in inside)
            assert found.cost == sum(event.cost_nano_usd for event in inside)
