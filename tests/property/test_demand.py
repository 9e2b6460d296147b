"""Calls by the hour equal the log counted by hand; what an hour is expected to bring follows from weeks, then from days."""

from collections import Counter

from fold_logs import Log, attempts_logs
from fold_world import CATALOG, control, projection
from hypothesis import given
from hypothesis import strategies as st

from schemas.demand import DAY_HOURS, SLOTS, WEEK_HOURS, Demand, expected_calls
from schemas.events import AttemptFailed, AttemptSucceeded, ClockTicked
from schemas.periods import HOUR
from schemas.state import HourCalls

NOW_HOUR = 500_000
LIMITED = {d.id for d in CATALOG.deployments if d.limits.requests_per_minute}


@given(attempts_logs())
def test_an_hour_counts_the_calls_to_whoever_has_a_limit(log: Log) -> None:
    projected, counted, clock, offset = projection(log.kind), Counter[tuple[str, int]](), 0, -1
    for record in log.records:
        projected.apply(record)
        clock, event = max(clock, record.logged_at), record.event
        if isinstance(event, ClockTicked):
            offset = event.control_offset
        known = control(offset).configuration.catalog.deployment_by_id
        if isinstance(event, AttemptSucceeded | AttemptFailed) and event.deployment in LIMITED & known.keys():
            counted[event.deployment, clock // HOUR] += 1
    kept = {
        (subject.partition("/")[2], state.start): state.calls
        for subject in projected.subjects("demand")
        if (state := projected.snapshot("demand", subject)).calls
    }
    newest = {(name, hour % SLOTS): hour for name, hour in sorted(counted)}
    assert kept == {(name, hour): counted[name, hour] for (name, _), hour in newest.items()}


@given(st.dictionaries(st.integers(NOW_HOUR - 900, NOW_HOUR - 1), st.integers(1, 99)))
def test_what_is_expected_is_a_mean_of_the_past_alone(calls: dict[int, int]) -> None:
    expected = expected_calls(calls, NOW_HOUR)
    if expected is None:
        assert not calls or min(calls) > NOW_HOUR - DAY_HOURS
        return
    assert 0 <= expected <= max(calls.values())
    assert expected_calls(calls | {NOW_HOUR: 10_000}, NOW_HOUR) == expected


def test_weeks_win_over_days_and_silence_counts() -> None:
    week, day = NOW_HOUR - WEEK_HOURS, NOW_HOUR - DAY_HOURS
    assert expected_calls({day: 60}, NOW_HOUR) == 60
    assert expected_calls({day: 60, day - DAY_HOURS: 30}, NOW_HOUR) == 45
    # Two days ago nobody called.
    assert expected_calls({day: 60, day - 2 * DAY_HOURS: 30}, NOW_HOUR) == 30
    assert expected_calls({week: 240, day: 60}, NOW_HOUR) == 240


def test_a_view_of_snapshots_expects_calls_a_minute() -> None:
    demand = Demand()
    now = NOW_HOUR * HOUR + 5
    demand.put(f"{(NOW_HOUR - DAY_HOURS) % SLOTS}/d1", HourCalls(NOW_HOUR - DAY_HOURS, 600))
    demand.put(f"{(NOW_HOUR - 2) % SLOTS}/d2", HourCalls(NOW_HOUR - 2, 600))
    assert demand.expected(now) == {"d1": 10.0}
    # This hour's calls change nothing, a snapshot of an earlier one that comes late does.
    demand.put(f"{NOW_HOUR % SLOTS}/d1", HourCalls(NOW_HOUR, 5))
    assert demand.expected(now) == {"d1": 10.0}
    demand.put(f"{(NOW_HOUR - 2 * DAY_HOURS) % SLOTS}/d1", HourCalls(NOW_HOUR - 2 * DAY_HOURS, 1_200))
    assert demand.expected(now) == {"d1": 15.0}
    # The slot of five weeks ago is used again.
    demand.put(f"{NOW_HOUR % SLOTS}/d1", HourCalls(NOW_HOUR + SLOTS, 60))
    assert demand.expected((NOW_HOUR + SLOTS + 1) * HOUR)["d1"] == 0.0
