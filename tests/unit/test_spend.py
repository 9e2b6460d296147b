"""Reservations, settlements, estimates, duplicates, periods."""

from fold_events import SECOND, START, incurred, reserved, ticked

from projections.fold import LogRecord
from projections.spend import SpendFold
from schemas.events import CostIncurred, Event
from schemas.inforce import InForce
from schemas.merge import DAY, HOUR, SpendTotals, period_start
from schemas.snapshots import decode_value, encode_value
from schemas.state import PeriodSpend, SpendState

FOLD = SpendFold()
# The first microsecond of an hour, so that periods are easy to name.
NOON = period_start("hour", START)


def at(now: int, event: Event) -> LogRecord:
    return LogRecord("llm.costs", 0, 0, now, event)


def fold(*steps: tuple[int, Event]) -> SpendState:
    state = FOLD.initial()
    for now, event in steps:
        state, _ = FOLD.step(state, at(now, event), InForce())
    return state


def expired(nano_usd: int) -> CostIncurred:
    """As a tick derives it: no worker said it."""
    return incurred(certainty="estimated", nano_usd=nano_usd, worker="")


def tick(state: SpendState, now: int) -> tuple[SpendState, tuple[Event, ...]]:
    return FOLD.tick(state, "acme", at(now, ticked()), InForce())


def spent(state: SpendState, scope: str = "tenant", period: str = "hour") -> int:
    return state.periods(scope)[period].spent


def test_a_reservation_is_open_until_it_is_settled() -> None:
    state = fold((NOON, reserved()))
    assert state.open["c1"].nano_usd == 1_000
    assert state.open["c1"].expires_at == START + 90 * SECOND
    assert not state.totals
    settled, _ = FOLD.step(state, at(NOON, incurred(nano_usd=700)), InForce())
    assert not settled.open
    assert state.open, "states never change in place"


def test_a_charge_counts_in_every_scope_and_period_of_its_record() -> None:
    state = fold((NOON, reserved()), (NOON + HOUR, incurred(nano_usd=700)))
    assert set(state.totals) == {"tenant", "provider:openai", "deployment:d1"}
    for scope in state.totals:
        assert state.periods(scope) == {
            name: PeriodSpend(period_start(name, NOON + HOUR), 700, 1) for name in ("hour", "day", "week", "month")
        }


def test_a_second_charge_and_one_without_reservation_change_nothing() -> None:
    state = fold((NOON, reserved()), (NOON, incurred()))
    assert FOLD.step(state, at(NOON, incurred()), InForce())[0] is state
    assert FOLD.step(state, at(NOON, incurred(cost_id="c9")), InForce())[0] is state
    assert FOLD.step(state, at(NOON, incurred(certainty="estimated")), InForce())[0] is state


def test_a_second_reservation_of_an_id_changes_nothing() -> None:
    state = fold((NOON, reserved()))
    assert FOLD.step(state, at(NOON, reserved(nano_usd=9)), InForce())[0] is state


def test_a_new_period_starts_at_zero() -> None:
    state = fold(
        (NOON, reserved()), (NOON, incurred()), (NOON, reserved(cost_id="c2")), (NOON + HOUR, incurred(cost_id="c2"))
    )
    assert state.periods("tenant")["hour"] == PeriodSpend(NOON + HOUR, 1_000, 1)
    assert state.periods("tenant")["month"].spent == 2_000


def test_an_expired_reservation_derives_one_estimate_until_it_is_read_back() -> None:
    state = fold((NOON, reserved()))
    expires = state.open["c1"].expires_at
    assert tick(state, expires - 1) == (state, ())
    same, (first,) = tick(state, expires)
    _, (again,) = tick(state, expires + 5 * SECOND)
    assert same is state
    assert first == again
    assert isinstance(first, CostIncurred)
    assert (first.event_id, first.certainty, first.nano_usd, first.tenant) == ("c1/expired", "estimated", 1_000, "acme")
    assert str(first.source) == "llm.requests-0-7"
    charged, _ = FOLD.step(state, at(expires, first), InForce())
    assert spent(charged) == 1_000
    assert not charged.open
    assert "c1" in charged.estimated
    assert FOLD.step(charged, at(expires, again), InForce())[0] is charged


def test_a_settlement_before_the_derived_estimate_wins() -> None:
    state = fold((NOON, reserved()))
    _, (estimate,) = tick(state, START + DAY)
    settled, _ = FOLD.step(state, at(START + DAY, incurred(nano_usd=5)), InForce())
    assert FOLD.step(settled, at(START + DAY, estimate), InForce())[0] is settled
    assert spent(settled) == 5


def test_a_late_settlement_replaces_the_estimate() -> None:
    state = fold((NOON, reserved()), (NOON, expired(900)), (NOON + 1, incurred(nano_usd=400)))
    assert state.periods("tenant")["hour"] == PeriodSpend(NOON, 400, 1)
    assert not state.estimated
    assert FOLD.step(state, at(NOON + 2, incurred(nano_usd=400)), InForce())[0] is state


def test_a_settlement_a_period_later_is_taken_back_only_where_the_period_goes_on() -> None:
    late = NOON + HOUR
    state = fold(
        (NOON, reserved()), (NOON, expired(900)),
        (NOON, reserved(cost_id="c2")), (late, incurred(cost_id="c2", nano_usd=7)), (late, incurred(nano_usd=400)),
    )  # fmt: skip
    assert state.periods("tenant")["hour"] == PeriodSpend(late, 407, 2)
    assert spent(state, period="month") == 407


def test_an_estimate_of_the_worker_that_called_is_its_last_word() -> None:
    # Kept like one that expired it would stand in every snapshot for an hour, and nothing would ever replace it.
    state = fold((NOON, reserved()), (NOON, incurred(certainty="estimated", nano_usd=900)))
    assert not state.estimated
    assert FOLD.step(state, at(NOON + 1, expired(1_000)), InForce())[0] is state
    assert spent(state) == 900


def test_estimates_are_forgotten_after_an_hour() -> None:
    state = fold((NOON, reserved()), (NOON, expired(1_000)))
    assert tick(state, NOON + HOUR - 1)[0] is state
    forgotten, _ = tick(state, NOON + HOUR)
    assert not forgotten.estimated
    assert spent(forgotten) == 1_000


def test_a_tenant_with_a_time_zone_has_periods_of_its_own_beside_those_of_the_whole() -> None:
    midnight = period_start("day", START)
    before, inforce = midnight + 18 * HOUR, InForce(zones={"acme": "Asia/Kolkata"})
    state = fold((before, reserved()), (before, incurred(nano_usd=700)))
    state, _ = FOLD.tick(state, "acme", at(before + SECOND, ticked()), inforce)
    assert spent(state, "local", "day") == 700, "what the running day holds goes with it"
    # The day of Kolkata begins at 18:30 UTC.
    for number, now in enumerate((midnight + 19 * HOUR, midnight + DAY + HOUR)):
        for event in (reserved(cost_id=f"n{number}"), incurred(cost_id=f"n{number}", nano_usd=10)):
            state, _ = FOLD.step(state, at(now, event), inforce)
    assert state.periods("local")["day"] == PeriodSpend(midnight + 18 * HOUR + HOUR // 2, 20, 2)
    assert state.periods("tenant")["day"] == PeriodSpend(midnight + DAY, 10, 1)
    totals = SpendTotals()
    totals.put("acme", 0, state)
    assert totals.spent("tenant:acme", "day", midnight + DAY + HOUR) == 20
    assert totals.spent("global", "day", midnight + DAY + HOUR) == 10
    assert decode_value("spend", encode_value(state)) == state
    utc, _ = FOLD.tick(state, "acme", at(midnight + DAY + 2 * HOUR, ticked()), InForce())
    assert "local" not in utc.totals


def test_totals_answer_for_every_scope() -> None:
    totals = SpendTotals()
    totals.put("acme", 0, fold((NOON, reserved()), (NOON, incurred(nano_usd=700)), (NOON, reserved(cost_id="c2"))))
    totals.put("beta", 1, fold((NOON, reserved(provider="google")), (NOON, incurred(provider="google", nano_usd=5))))
    assert totals.spent("global", "hour", NOON) == 705
    assert totals.spent("tenant:acme", "day", NOON) == 700
    assert totals.spent("provider:google", "month", NOON) == 5
    assert totals.spent("deployment:d1", "week", NOON) == 705
    assert totals.spent("global", "hour", NOON + HOUR) == 0
    assert totals.reserved("global") == totals.reserved("tenant:acme") == totals.reserved("provider:openai") == 1_000
    assert totals.reserved("tenant:beta") == 0
