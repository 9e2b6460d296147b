"""The checker finds each way to break the promise, in histories broken by hand, and nothing in a whole one."""

from dataclasses import replace

import pytest
from chaos_histories import (
    PRICES,
    SOURCE,
    answer,
    attempt,
    call,
    completed,
    event,
    healthy,
    history,
    marker,
    placed,
    sql_of,
    state_of,
)

from infra.chaos.check import INVARIANTS, check
from infra.chaos.check_calls import bought_again, bought_again_after_expulsion
from infra.chaos.check_money import sums
from infra.chaos.history import Call, History, Request, Sql
from schemas.events import AttemptStarted, AttemptSucceeded, CostIncurred, CostReserved, Event, RequestDeduplicated
from schemas.ids import Source

SECOND_SOURCE = Source("llm.requests", 0, 8)
AGAIN = Request(SECOND_SOURCE, "r-1", "acme")


def without(kind: type[Event], number: int | None = None) -> list[Event]:
    """The healthy events but one kind."""
    return [
        one for one in healthy()
        if not (isinstance(one, kind) and (number is None or getattr(one, "number", number) == number))
    ]  # fmt: skip


def two_runs(first: str, second: str, *, member: str = "") -> History:
    """The worker of run 0 dies in its call; run 5 of `second` answers, under `member`."""
    died = [one for one in attempt(1) if isinstance(one, AttemptStarted | CostReserved)]
    expired = event(
        CostIncurred, number=1, deployment="a", certainty="estimated", nano_usd=99_000, event_id="x/expired"
    )
    filler = [event(RequestDeduplicated, first_source=SOURCE) for _ in range(4)]
    events = [marker(first), *died, *filler, marker(second, member), *attempt(1, run=5), expired, completed(run=5)]
    return history(events, calls=(call(1), call(1, run=5)))


def broken_sql(change: Sql) -> History:
    return history(sql=change)


def stale_state() -> History:
    """The last record of a key is an older snapshot, as compaction would keep it."""
    records = placed(healthy())
    state = state_of(records)
    older = next(w for w in state_of(records[:5]) if w.snapshot and w.snapshot.kind == "spend")
    return history(state=(*state, replace(older, offset=99)))


def standing_still() -> History:
    records = placed(healthy())
    return history(state=state_of(tuple(record for record in records if record.offset < 3)))


def estimated_only() -> list[Event]:
    return [
        replace(one, certainty="estimated") if isinstance(one, CostIncurred) and one.number == 2 else one
        for one in healthy()
    ]


SQL = sql_of(placed(healthy()))
PLACE = ("llm.costs", 0, 3)
BROKEN: dict[str, tuple[str, History]] = {
    "an acknowledged request is gone": ("published_stands", history(published=(SOURCE, SECOND_SOURCE))),
    "a request has no answer": ("none_lost", history(answers=())),
    "an id published again is forgotten": (
        "none_lost",
        history(requests=(Request(SOURCE, "r-1", "acme"), Request(SECOND_SOURCE, "r-2", "acme"))),
    ),
    "a request has two answers": ("answered_once", history(answers=(answer(3), answer(4)))),
    "an id has two answers": (
        "answered_once",
        history(
            [*healthy(), *attempt(1, source=SECOND_SOURCE), completed(source=SECOND_SOURCE)],
            requests=(Request(SOURCE, "r-1", "acme"), AGAIN),
            answers=(answer(3), answer(4, source=SECOND_SOURCE)),
            calls=(call(1, fails=True), call(2), call(1, source=SECOND_SOURCE)),
        ),
    ),
    "an answer without a request": ("answered_once", history(requests=(), published=())),
    "an answer without a completion": ("answered_is_recorded", history(healthy()[:-1])),
    "an answer that its completion contradicts": ("answered_is_recorded", history(answers=(answer(status="error"),))),
    "an answer without its cost": ("answered_is_recorded", history(without(CostIncurred, 2))),
    "an attempt called twice": ("called_once", history(calls=(call(1, fails=True), call(2), call(2)))),
    "a call before its start was written": ("called_once", history(without(AttemptStarted, 2))),
    "a call before its reservation was written": ("called_once", history(without(CostReserved, 2))),
    "a second attempt after a success": (
        "called_once",
        history([marker(), *attempt(1), *attempt(2), completed()], calls=(call(1), call(2))),
    ),
    "a run that nobody began": (
        "bought_again_by_reason",
        history([*attempt(1, run=3), completed(run=3)], calls=(call(1, run=3),)),
    ),
    "bought twice though its worker stayed": ("bought_again_by_reason", two_runs("w1", "w1")),
    "run twice though nobody was disturbed": (
        "bought_again_by_reason",
        replace(two_runs("w1", "w2"), owners_stay=True),
    ),
    "two different charges": (
        "charged_once",
        history([*healthy(), replace(attempt(2)[3], nano_usd=5, event_id="other")]),
    ),
    "an outcome without a charge": ("attempts_equal_costs", history(without(CostIncurred, 1))),
    "a charge that its tokens contradict": (
        "attempts_equal_costs",
        history([
            replace(one, tokens_out=41) if isinstance(one, AttemptSucceeded) else one for one in healthy()
        ]),
    ),
    "a bill above the charge": (
        "costs_equal_bill",
        history(calls=(call(1, fails=True), replace(call(2), tokens_out=41))),
    ),
    "a charge without a call": ("costs_equal_bill", history(calls=(call(1, fails=True),))),
    "a call that no cost names": (
        "costs_equal_bill",
        history(calls=(call(1, fails=True), call(2), Call(f"{SOURCE}@0/9", "a", 200, 10, 10, 0))),
    ),
    "a reservation that nothing settles": ("reservations_settled", history(without(CostIncurred, 2))),
    "an event is missing in SQL": (
        "sql_holds_events",
        broken_sql(replace(SQL, events={place: row for place, row in SQL.events.items() if place != PLACE})),
    ),
    "SQL has an event too many": (
        "sql_holds_events",
        broken_sql(replace(SQL, events={**SQL.events, ("llm.costs", 0, 99): ("CostIncurred", "e")})),
    ),
    "SQL holds another event": (
        "sql_holds_events",
        broken_sql(replace(SQL, events={**SQL.events, PLACE: ("CostIncurred", "e")})),
    ),
    "SQL has no outcome": ("sql_holds_requests", broken_sql(replace(SQL, requests={}))),
    "SQL has another cost": (
        "sql_holds_requests",
        broken_sql(replace(SQL, costs={name: nano + 1 for name, nano in SQL.costs.items()})),
    ),
    "drift is not empty": ("sql_has_no_drift", broken_sql(replace(SQL, drift=("tenant_hour",)))),
    "a replay differs": ("replay_equals_state", history(replayed=("1:circuit:a:llm.attempts-0 at 3: ...",))),
    "an old snapshot was written last": ("state_is_current", stale_state()),
    "a projector stands still": ("state_is_current", standing_still()),
    "a key was never written": ("state_is_current", history(state=tuple(
        written for written in state_of(placed(healthy())) if written.snapshot and written.snapshot.kind == "cursor"
    ))),
}  # fmt: skip


def test_a_whole_history_breaks_nothing() -> None:
    whole = history()
    assert check(whole) == []
    money = sums(whole)
    assert money.attempts == money.certain == money.bill_certain == money.bill == PRICES["a"].of(100, 0, 40) > 0


@pytest.mark.parametrize("name", BROKEN)
def test_each_break_is_found(name: str) -> None:
    invariant, found = BROKEN[name]
    breaches = check(found)
    assert invariant in {breach.invariant for breach in breaches}, breaches


def test_every_invariant_has_a_history_that_breaks_it() -> None:
    assert {invariant for invariant, _ in BROKEN.values()} == set(INVARIANTS)


def test_a_call_may_be_bought_again_by_a_new_owner() -> None:
    found = two_runs("w1", "w2")
    assert check(found) == []
    assert (bought_again(found), bought_again_after_expulsion(found)) == (1, 0)
    money = sums(found)
    assert (money.estimated, money.bill_estimated) == (99_000, PRICES["a"].of(100, 0, 40))


def test_a_worker_that_its_group_expelled_is_a_new_owner() -> None:
    found = two_runs("w1", "w1", member="w1-again")
    assert check(found) == []
    assert (bought_again(found), bought_again_after_expulsion(found)) == (1, 1)


def test_an_id_published_again_shares_the_answer() -> None:
    shared = event(RequestDeduplicated, source=SECOND_SOURCE, first_source=SOURCE)
    assert check(history([*healthy(), shared], requests=(Request(SOURCE, "r-1", "acme"), AGAIN))) == []


def test_an_id_runs_again_after_a_retryable_error() -> None:
    again = [*attempt(1, source=SECOND_SOURCE), completed(source=SECOND_SOURCE)]
    found = history(
        [marker(), *attempt(1, fails=True), completed(status="error", retryable=True, deployment=""), *again],
        requests=(Request(SOURCE, "r-1", "acme"), AGAIN),
        answers=(answer(3, status="error", retryable=True), answer(4, source=SECOND_SOURCE)),
        calls=(call(1, fails=True), call(1, source=SECOND_SOURCE)),
    )
    assert check(found) == []


def test_an_estimate_is_no_difference_to_the_bill() -> None:
    assert check(history(estimated_only())) == []
