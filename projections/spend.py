"""A tenant's money: reserved before a call, settled after it, charged as estimated when nothing settles it."""

from projections.fold import LogRecord
from projections.periods import period_starts
from schemas.events import CostIncurred, CostReserved, Event
from schemas.ids import Source
from schemas.inforce import InForce
from schemas.periods import HOUR
from schemas.state import Estimate, Reservation, SpendState
from schemas.units import MICROS_PER_S

GRACE = 30 * MICROS_PER_S
ESTIMATES_KEPT = 24 * 3_600 * MICROS_PER_S
NEVER = 2**63
NOTHING = SpendState()
Stepped = tuple[SpendState, tuple[Event, ...]]
Moved = tuple[bool, tuple[Event, ...]]


class SpendDraft:
    """A SpendState under way. Owns its tables, which change in place: `fixed` copies them.

    `due`: no reservation expires and no estimate is forgotten before it (microseconds).
    """

    __slots__ = ("due", "estimated", "fixed", "open", "totals", "zone")

    def __init__(self, state: SpendState) -> None:
        self.totals = {scope: list(sums) for scope, sums in state.totals.items()}
        self.open, self.estimated, self.zone = dict(state.open), dict(state.estimated), state.zone
        self.due = min(
            min((held.expires_at for held in self.open.values()), default=NEVER),
            min((guess.charged_at for guess in self.estimated.values()), default=NEVER) + ESTIMATES_KEPT,
        )
        self.fixed: SpendState | None = state


class SpendFold:
    """kind `spend`: tenant -> SpendState.

    A charge counts in the hour, day, week and month of the record that settles it. A cost id that is neither open nor
    estimated was settled before: its second charge changes nothing.
    """

    kind: str = "spend"
    version: int = 2
    reads: tuple[type[Event], ...] = (CostReserved, CostIncurred)

    def initial(self) -> SpendState:
        return NOTHING

    def subject(self, event: Event) -> str | None:
        return event.tenant if isinstance(event, (CostReserved, CostIncurred)) else None

    def step(self, state: SpendState, record: LogRecord, inforce: InForce) -> Stepped:
        draft = SpendDraft(state)
        _, events = self.stepped(draft, record, inforce)
        return self.fixed(draft), events

    def tick(self, state: SpendState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        draft = SpendDraft(state)
        _, events = self.ticked(draft, subject, record, inforce)
        return self.fixed(draft), events

    def draft(self, state: SpendState) -> SpendDraft:
        return SpendDraft(state)

    def fixed(self, draft: SpendDraft) -> SpendState:
        if draft.fixed is None:
            totals = {scope: tuple(sums) for scope, sums in draft.totals.items()}
            draft.fixed = SpendState(totals, draft.open.copy(), draft.estimated.copy(), draft.zone)
        return draft.fixed

    def stepped(self, draft: SpendDraft, record: LogRecord, inforce: InForce) -> Moved:
        event = record.event
        if isinstance(event, CostReserved):
            moved = _reserved(draft, event)
        else:
            assert isinstance(event, CostIncurred)
            moved = _incurred(draft, event, record.logged_at)
        if moved:
            draft.fixed = None
        return moved, ()

    def ticked(self, draft: SpendDraft, subject: str, record: LogRecord, inforce: InForce) -> Moved:
        now, zone, moved = record.logged_at, inforce.zones.get(subject, ""), False
        if zone != draft.zone:
            _move(draft, zone, now)
            moved = True
        expired: tuple[Event, ...] = ()
        if draft.due <= now:
            # Charged when the event is read back, not here: a settlement that stands before it in the log wins.
            expired = tuple(
                _expired(subject, cost_id, draft.open[cost_id])
                for cost_id in sorted(draft.open)
                if draft.open[cost_id].expires_at <= now
            )
            past = [key for key, guess in draft.estimated.items() if guess.charged_at + ESTIMATES_KEPT <= now]
            for key in past:
                del draft.estimated[key]
            moved = moved or bool(past)
        if moved:
            draft.fixed = None
        return moved, expired


def _reserved(draft: SpendDraft, event: CostReserved) -> bool:
    if event.cost_id in draft.open or event.cost_id in draft.estimated:
        return False
    expires_at = event.deadline_at + GRACE
    draft.open[event.cost_id] = Reservation(
        event.nano_usd, expires_at, event.number, event.deployment, event.provider, event.model, str(event.source),
        event.run, event.request_id, event.trace_id, event.accepted_at,
    )  # fmt: skip
    draft.due = min(draft.due, expires_at)
    return True


def _incurred(draft: SpendDraft, event: CostIncurred, now: int) -> bool:
    guess = event.certainty == "estimated"
    if event.cost_id in draft.open:
        del draft.open[event.cost_id]
    elif event.cost_id in draft.estimated and not guess:
        _take_back(draft, draft.estimated.pop(event.cost_id))
    else:
        return False
    if guess:
        draft.estimated[event.cost_id] = Estimate(event.nano_usd, now, event.deployment, event.provider)
        draft.due = min(draft.due, now + ESTIMATES_KEPT)
    for scope, zone in _scopes(draft, event.provider, event.deployment):
        sums = draft.totals.get(scope)
        if sums is None:
            sums = draft.totals[scope] = [0] * 12
        # Within the same hour no longer period can have ended either.
        if not sums[0] <= now < sums[0] + HOUR or not sums[0]:
            _begin(sums, now, zone)
        amount = event.nano_usd
        sums[1] += amount
        sums[2] += 1
        sums[4] += amount
        sums[5] += 1
        sums[7] += amount
        sums[8] += 1
        sums[10] += amount
        sums[11] += 1
    return True


def _scopes(draft: SpendDraft, provider: str, deployment: str) -> tuple[tuple[str, str], ...]:
    """Each scope with its time zone."""
    utc = ("tenant", ""), (f"provider:{provider}", ""), (f"deployment:{deployment}", "")
    return (*utc, ("local", draft.zone)) if draft.zone else utc


def _begin(sums: list[int], now: int, zone: str) -> None:
    """Periods that ended begin anew, from nothing."""
    for place, (_, start) in enumerate(period_starts(now, zone)):
        if sums[3 * place] < start:
            sums[3 * place : 3 * place + 3] = start, 0, 0


def _take_back(draft: SpendDraft, estimate: Estimate) -> None:
    """Without the estimate, in each period it was charged in that nothing followed yet."""
    for scope, zone in _scopes(draft, estimate.provider, estimate.deployment):
        sums = draft.totals.get(scope)
        if sums is not None:
            for place, (_, start) in enumerate(period_starts(estimate.charged_at, zone)):
                if sums[3 * place] == start:
                    sums[3 * place + 1] -= estimate.nano_usd
                    sums[3 * place + 2] -= 1


def _move(draft: SpendDraft, zone: str, now: int) -> None:
    """The tenant's clocks changed: what the running period holds by UTC, the running local one begins with.

    Nothing keeps the hours between the two beginnings apart, and a limit that starts from zero could be spent twice.
    """
    draft.zone = zone
    draft.totals.pop("local", None)
    whole = draft.totals.get("tenant")
    if zone and whole is not None:
        local: list[int] = []
        utc, there = period_starts(now), period_starts(now, zone)
        for place, ((_, current), (_, start)) in enumerate(zip(utc, there, strict=True)):
            begun, spent, count = whole[3 * place : 3 * place + 3]
            local += (start, spent, count) if begun == current else (start, 0, 0)
        draft.totals["local"] = local


def _expired(tenant: str, cost_id: str, held: Reservation) -> CostIncurred:
    """The charge of a reservation that nothing settled: the same event whichever tick derives it."""
    return CostIncurred(
        event_id=f"{cost_id}/expired", occurred_at=held.expires_at, worker="", source=Source.parse(held.source),
        run=held.run, request_id=held.request_id, tenant=tenant, trace_id=held.trace_id, accepted_at=held.accepted_at,
        cost_id=cost_id, number=held.number, nano_usd=held.nano_usd, deployment=held.deployment, provider=held.provider,
        model=held.model, certainty="estimated", tokens_in=0, tokens_out=0, tokens_cached=0, tokens_cache_write=0,
        tokens_reasoning=0, price_version="",
    )  # fmt: skip
