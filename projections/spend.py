"""A tenant's money: reserved before a call, settled after it, charged as estimated when nothing settles it."""

from collections.abc import Mapping

from projections.fold import LogRecord
from projections.periods import period_starts
from schemas.events import CostIncurred, CostReserved, Event
from schemas.ids import Source
from schemas.inforce import InForce
from schemas.state import Estimate, PeriodSpend, Reservation, SpendState
from schemas.units import MICROS_PER_S

GRACE = 30 * MICROS_PER_S
ESTIMATES_KEPT = 24 * 3_600 * MICROS_PER_S
NOTHING = SpendState()
Stepped = tuple[SpendState, tuple[Event, ...]]
Totals = dict[str, dict[str, PeriodSpend]]


class SpendFold:
    """kind `spend`: tenant -> SpendState.

    A charge counts in the hour, day, week and month of the record that settles it. A cost id that is neither open nor
    estimated was settled before: its second charge changes nothing.
    """

    kind: str = "spend"
    version: int = 1
    reads: tuple[type[Event], ...] = (CostReserved, CostIncurred)

    def initial(self) -> SpendState:
        return NOTHING

    def subject(self, event: Event) -> str | None:
        return event.tenant if isinstance(event, (CostReserved, CostIncurred)) else None

    def step(self, state: SpendState, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        if isinstance(event, CostReserved):
            return _reserved(state, event), ()
        assert isinstance(event, CostIncurred)
        return _incurred(state, event, record.logged_at), ()

    def tick(self, state: SpendState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        now = record.logged_at
        # Charged when the event is read back, not here: a settlement that stands before it in the log wins.
        expired = tuple(
            _expired(subject, cost_id, state.open[cost_id])
            for cost_id in sorted(state.open)
            if state.open[cost_id].expires_at <= now
        )
        kept = {key: item for key, item in state.estimated.items() if item.charged_at + ESTIMATES_KEPT > now}
        if len(kept) < len(state.estimated):
            state = SpendState(state.totals, state.open, kept)
        return state, expired


def _reserved(state: SpendState, event: CostReserved) -> SpendState:
    if event.cost_id in state.open or event.cost_id in state.estimated:
        return state
    held = state.open.copy()
    held[event.cost_id] = Reservation(
        event.nano_usd, event.deadline_at + GRACE, event.number, event.deployment, event.provider, event.model,
        str(event.source), event.run, event.request_id, event.trace_id, event.accepted_at,
    )  # fmt: skip
    return SpendState(state.totals, held, state.estimated)


def _incurred(state: SpendState, event: CostIncurred, now: int) -> SpendState:
    totals, held, estimated = state.totals, state.open, state.estimated
    guess = event.certainty == "estimated"
    if event.cost_id in held:
        held = held.copy()
        del held[event.cost_id]
    elif event.cost_id in estimated and not guess:
        totals = _taken_back(totals, estimated[event.cost_id])
        estimated = {key: item for key, item in estimated.items() if key != event.cost_id}
    else:
        return state
    if guess:
        estimated = {**estimated, event.cost_id: Estimate(event.nano_usd, now, event.deployment, event.provider)}
    return SpendState(_charged(totals, _scopes(event.provider, event.deployment), now, event.nano_usd), held, estimated)


def _scopes(provider: str, deployment: str) -> tuple[str, str, str]:
    return "tenant", f"provider:{provider}", f"deployment:{deployment}"


def _charged(totals: Mapping[str, dict[str, PeriodSpend]], scopes: tuple[str, ...], now: int, amount: int) -> Totals:
    changed = dict(totals)
    starts = period_starts(now)
    hour = starts[0][1]
    for scope in scopes:
        before = changed.get(scope)
        # Within the same hour no longer period can have ended either.
        if before is not None and (this := before["hour"]).start == hour:
            day, week, month = before["day"], before["week"], before["month"]
            changed[scope] = {
                "hour": PeriodSpend(hour, this.spent + amount, this.count + 1),
                "day": PeriodSpend(day.start, day.spent + amount, day.count + 1),
                "week": PeriodSpend(week.start, week.spent + amount, week.count + 1),
                "month": PeriodSpend(month.start, month.spent + amount, month.count + 1),
            }
        else:
            changed[scope] = {period: _added(before, period, start, amount) for period, start in starts}
    return changed


def _added(before: Mapping[str, PeriodSpend] | None, period: str, start: int, amount: int) -> PeriodSpend:
    spend = before.get(period) if before else None
    if spend is None or spend.start < start:
        return PeriodSpend(start, amount, 1)
    return PeriodSpend(spend.start, spend.spent + amount, spend.count + 1)


def _taken_back(totals: Mapping[str, dict[str, PeriodSpend]], estimate: Estimate) -> Totals:
    """Without the estimate, in each period it was charged in that nothing followed yet."""
    changed = dict(totals)
    for scope in _scopes(estimate.provider, estimate.deployment):
        after = dict(changed.get(scope, {}))
        for period, start in period_starts(estimate.charged_at):
            spend = after.get(period)
            if spend is not None and spend.start == start:
                after[period] = PeriodSpend(start, spend.spent - estimate.nano_usd, spend.count - 1)
        changed[scope] = after
    return changed


def _expired(tenant: str, cost_id: str, held: Reservation) -> CostIncurred:
    """The charge of a reservation that nothing settled: the same event whichever tick derives it."""
    return CostIncurred(
        event_id=f"{cost_id}/expired", occurred_at=held.expires_at, worker="", source=Source.parse(held.source),
        run=held.run, request_id=held.request_id, tenant=tenant, trace_id=held.trace_id, accepted_at=held.accepted_at,
        cost_id=cost_id, number=held.number, nano_usd=held.nano_usd, deployment=held.deployment, provider=held.provider,
        model=held.model, certainty="estimated", tokens_in=0, tokens_out=0, tokens_cached=0, tokens_cache_write=0,
        tokens_reasoning=0, price_version="",
    )  # fmt: skip
