"""The checker: every invariant, by name, over one history. Pure."""

from collections.abc import Callable, Iterator, Mapping

from infra.chaos.check_answers import answered_is_recorded, answered_once, none_lost, published_stands
from infra.chaos.check_calls import bought_again_by_reason, called_once
from infra.chaos.check_copies import (
    replay_equals_state,
    sql_has_no_drift,
    sql_holds_events,
    sql_holds_requests,
    state_is_current,
)
from infra.chaos.check_money import attempts_equal_costs, charged_once, costs_equal_bill, reservations_settled
from infra.chaos.history import Breach, History

INVARIANTS: Mapping[str, Callable[[History], Iterator[Breach]]] = {
    "published_stands": published_stands,
    "none_lost": none_lost,
    "answered_once": answered_once,
    "answered_is_recorded": answered_is_recorded,
    "called_once": called_once,
    "bought_again_by_reason": bought_again_by_reason,
    "charged_once": charged_once,
    "attempts_equal_costs": attempts_equal_costs,
    "costs_equal_bill": costs_equal_bill,
    "reservations_settled": reservations_settled,
    "sql_holds_events": sql_holds_events,
    "sql_holds_requests": sql_holds_requests,
    "sql_has_no_drift": sql_has_no_drift,
    "replay_equals_state": replay_equals_state,
    "state_is_current": state_is_current,
}


def check(history: History) -> list[Breach]:
    """Everything that is broken, by invariant in the order of the table; empty when all holds."""
    return [breach for invariant in INVARIANTS.values() for breach in invariant(history)]
