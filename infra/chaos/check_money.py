"""Attempts' cost = costs = the providers' bill, to the nano-dollar where the cost is certain."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from infra.chaos.history import Breach, Call, History, attempt_id
from schemas.events import AttemptAbandoned, AttemptFailed, AttemptSucceeded, CostIncurred, CostReserved

SETTLED_US = 45_000_000
"""A reservation is charged as estimated 30 s after its deadline, at a tick: 15 s more are allowed."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Nano-USD. `certain`: what the log knows for certain; `bill_certain`: the bill of those attempts;

    `attempts`: succeeded attempts by their tokens; `estimated`: charged as reserved; `bill_estimated`: the bill of those;
    `open_count`: reservations that are not settled yet; `bill_open`: the bill of those; `bill`: all of it.
    """

    attempts: int
    certain: int
    bill_certain: int
    estimated: int
    bill_estimated: int
    open_count: int
    bill_open: int
    bill: int


def charges(history: History) -> dict[str, CostIncurred]:
    """Cost id -> the charge that stands: certain beats estimated, then the first."""
    standing: dict[str, CostIncurred] = {}
    for _, event in history.of(CostIncurred):
        known = standing.get(event.cost_id)
        if known is None or (known.certainty == "estimated" and event.certainty == "certain"):
            standing[event.cost_id] = event
    return standing


def billed(history: History, call: Call) -> int:
    """Nano-USD that the provider charges for the call."""
    return history.prices[call.deployment].of(call.tokens_in, call.tokens_cached, call.tokens_out)


def sums(history: History) -> Sums:
    """The three accounts side by side."""
    standing = charges(history)
    bill: dict[str, int] = {call.attempt: 0 for call in history.calls}
    for call in history.calls:
        bill[call.attempt] += billed(history, call)
    certain = {name for name, event in standing.items() if event.certainty == "certain"}
    estimated = standing.keys() - certain
    still_open = {event.cost_id for _, event in history.of(CostReserved)} - standing.keys()
    succeeded = {
        attempt_id(event.source, event.run, event.number):
        history.prices[event.deployment].of(event.tokens_in, event.tokens_cached, event.tokens_out)
        for _, event in history.of(AttemptSucceeded)
    }  # fmt: skip
    return Sums(
        attempts=sum(succeeded.values()),
        certain=sum(standing[name].nano_usd for name in certain),
        bill_certain=sum(bill.get(name, 0) for name in certain),
        estimated=sum(standing[name].nano_usd for name in estimated),
        bill_estimated=sum(bill.get(name, 0) for name in estimated),
        open_count=len(still_open),
        bill_open=sum(amount for name, amount in bill.items() if name not in standing),
        bill=sum(bill.values()),
    )


def attempts_equal_costs(history: History) -> Iterator[Breach]:
    """Each attempt that ended has a charge, and one that succeeded is charged exactly what its tokens cost."""
    standing = charges(history)
    for kind in (AttemptSucceeded, AttemptFailed, AttemptAbandoned):
        for record, event in history.of(kind):
            name = attempt_id(event.source, event.run, event.number)
            charge = standing.get(name)
            if charge is None:
                says = f"{kind.__name__} has no CostIncurred"
                yield Breach("attempts_equal_costs", name, says, (record.position,))
            elif isinstance(event, AttemptSucceeded) and charge.certainty == "certain":
                cost = history.prices[event.deployment].of(event.tokens_in, event.tokens_cached, event.tokens_out)
                if cost != charge.nano_usd:
                    says = f"its tokens cost {cost} nano-USD and {charge.nano_usd} were charged"
                    yield Breach("attempts_equal_costs", name, says, (record.position,))


def costs_equal_bill(history: History) -> Iterator[Breach]:
    """A certain charge is what the provider bills for that call; nothing that is billed goes without a reservation."""
    standing = charges(history)
    reserved = {event.cost_id for _, event in history.of(CostReserved)}
    calls = {call.attempt: call for call in history.calls}
    for name, charge in standing.items():
        call = calls.get(name)
        bill = billed(history, call) if call else 0
        if charge.certainty == "certain" and charge.nano_usd != bill:
            says = f"{charge.nano_usd} nano-USD were charged for certain and {charge.deployment} bills {bill}"
            yield Breach("costs_equal_bill", name, says, (charge.event_id,))
    for name, call in calls.items():
        if name not in standing and name not in reserved and billed(history, call):
            says = f"{call.deployment} bills {billed(history, call)} nano-USD for a call that no cost names"
            yield Breach("costs_equal_bill", name, says)


def charged_once(history: History) -> Iterator[Breach]:
    """A cost id has one certain charge at most; a second copy of it is the same event."""
    certain: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for _, event in history.of(CostIncurred):
        if event.certainty == "certain":
            certain[event.cost_id].add((event.event_id, event.nano_usd))
    for name, different in certain.items():
        if len(different) > 1:
            shown = tuple(f"{event_id}: {nano}" for event_id, nano in sorted(different))
            yield Breach("charged_once", name, f"has {len(different)} different certain charges", shown)


def reservations_settled(history: History) -> Iterator[Breach]:
    """A reservation is settled, or charged as estimated once its time is over."""
    standing = charges(history)
    for record, event in history.of(CostReserved):
        if event.cost_id not in standing and event.deadline_at + SETTLED_US < history.ended_at:
            late_s = (history.ended_at - event.deadline_at) / 1e6
            says = f"is open {late_s:.0f} s after its deadline"
            yield Breach("reservations_settled", event.cost_id, says, (record.position,))
