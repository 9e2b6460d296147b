"""A tenant's money: reserved before a call, settled after it, charged as estimated when nothing settles it."""

from projections.fold import LogRecord
from projections.periods import period_starts
from schemas.events import CostIncurred, CostReserved, Event
from schemas.ids import Source
from schemas.inforce import InForce
from schemas.periods import QUARTER
from schemas.state import Estimate, Reservation, SpendState, Sums
from schemas.units import MICROS_PER_S

GRACE = 30 * MICROS_PER_S
# A charge follows an estimate only when its worker was slower than the deadline and GRACE, and then by no more than a lease.
# Every snapshot holds all that are kept.
ESTIMATES_KEPT = 3_600 * MICROS_PER_S
NEVER = 2**63
NOTHING = SpendState()
EMPTY = (-1, 0, 0) * 4
Stepped = tuple[SpendState, tuple[Event, ...]]
Moved = tuple[bool, tuple[Event, ...]]


class SpendDraft:
    """A SpendState under way. Owns its tables, which change in place: `fixed` copies them.

    `due`: no reservation expires and no estimate is forgotten before it (microseconds). `since`: (provider, deployment)
    -> spent and count that `totals` does not hold yet, charged from `begun` on, before `ends`: in one quarter of an hour.
    """

    __slots__ = ("begun", "due", "ends", "estimated", "fixed", "open", "since", "totals", "zone")

    def __init__(self, state: SpendState) -> None:
        self.totals, self.open, self.estimated = state.totals.copy(), state.open.copy(), state.estimated.copy()
        self.zone = state.zone
        self.due = min(
            min((held.expires_at for held in self.open.values()), default=NEVER),
            min((guess.charged_at for guess in self.estimated.values()), default=NEVER) + ESTIMATES_KEPT,
        )
        self.since: dict[tuple[str, str], list[int]] = {}
        self.begun = self.ends = 0
        self.fixed: SpendState | None = state


class SpendFold:
    """kind `spend`: tenant -> SpendState.

    A charge counts in the hour, day, week and month of the record that settles it. An estimate of the worker that called
    settles as well; only what expired without a word of it is kept, to be replaced. A cost id that is neither open nor
    estimated was settled before: its second charge changes nothing.
    """

    kind: str = "spend"
    version: int = 4
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
            _add_up(draft)
            draft.fixed = SpendState(draft.totals.copy(), draft.open.copy(), draft.estimated.copy(), draft.zone)
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
    if guess and not event.worker:
        draft.estimated[event.cost_id] = Estimate(event.nano_usd, now, event.deployment, event.provider)
        draft.due = min(draft.due, now + ESTIMATES_KEPT)
    if not draft.begun <= now < draft.ends:
        _add_up(draft)
        draft.begun, draft.ends = now, now - now % QUARTER + QUARTER
    sums = draft.since.get((event.provider, event.deployment))
    if sums is None:
        sums = draft.since[event.provider, event.deployment] = [0, 0]
    sums[0] += event.nano_usd
    sums[1] += 1
    return True


def _scopes(draft: SpendDraft, provider: str, deployment: str) -> tuple[str, ...]:
    named = "tenant", f"provider:{provider}", f"deployment:{deployment}"
    return (*named, "local") if draft.zone else named


def _starts(draft: SpendDraft, scope: str, at: int) -> tuple[int, ...]:
    """Of the hour, day, week and month that `at` is in; those of `local` are the tenant's clocks'."""
    return tuple(start for _, start in period_starts(at, draft.zone if scope == "local" else ""))


def _add_up(draft: SpendDraft) -> None:
    """Bring `totals` up to date. No period begins within a quarter of an hour, so all of `since` is in the same ones."""
    if not draft.since:
        return
    totals, utc, whole, number = draft.totals, _starts(draft, "", draft.begun), 0, 0
    for (provider, deployment), (spent, count) in draft.since.items():
        whole += spent
        number += count
        for scope in (f"provider:{provider}", f"deployment:{deployment}"):
            totals[scope] = _added(totals.get(scope, EMPTY), utc, spent, count)
    totals["tenant"] = _added(totals.get("tenant", EMPTY), utc, whole, number)
    if draft.zone:
        local = _starts(draft, "local", draft.begun)
        totals["local"] = _added(totals.get("local", EMPTY), local, whole, number)
    draft.since.clear()


def _added(sums: Sums, starts: tuple[int, ...], spent: int, count: int) -> Sums:
    """The sums with more in the periods of these starts; periods that ended begin anew, from nothing."""
    if sums[0] != starts[0]:
        # Within the same hour no longer period can have ended either.
        moved = list[int]()
        for place, start in enumerate(starts):
            moved += sums[3 * place : 3 * place + 3] if sums[3 * place] >= start else (start, 0, 0)
        sums = tuple(moved)
    hour, hour_spent, hours, day, day_spent, days, week, week_spent, weeks, month, month_spent, months = sums
    return (
        hour, hour_spent + spent, hours + count, day, day_spent + spent, days + count,
        week, week_spent + spent, weeks + count, month, month_spent + spent, months + count,
    )  # fmt: skip


def _take_back(draft: SpendDraft, estimate: Estimate) -> None:
    """Without the estimate, in each period it was charged in that nothing followed yet."""
    _add_up(draft)
    for scope in _scopes(draft, estimate.provider, estimate.deployment):
        sums = list(draft.totals.get(scope, EMPTY))
        for place, start in enumerate(_starts(draft, scope, estimate.charged_at)):
            if sums[3 * place] == start:
                sums[3 * place + 1] -= estimate.nano_usd
                sums[3 * place + 2] -= 1
        draft.totals[scope] = tuple(sums)


def _move(draft: SpendDraft, zone: str, now: int) -> None:
    """The tenant's clocks changed: what the running period holds by UTC, the running local one begins with.

    Nothing keeps the hours between the two beginnings apart, and a limit that starts from zero could be spent twice.
    """
    _add_up(draft)
    draft.zone = zone
    draft.totals.pop("local", None)
    whole = draft.totals.get("tenant")
    if zone and whole is not None:
        local: list[int] = []
        for place, (current, start) in enumerate(
            zip(_starts(draft, "tenant", now), _starts(draft, "local", now), strict=True)
        ):
            begun, spent, count = whole[3 * place : 3 * place + 3]
            local += (start, spent, count) if begun == current else (start, 0, 0)
        draft.totals["local"] = tuple(local)


def _expired(tenant: str, cost_id: str, held: Reservation) -> CostIncurred:
    """The charge of a reservation that nothing settled: the same event whichever tick derives it."""
    return CostIncurred(
        event_id=f"{cost_id}/expired", occurred_at=held.expires_at, worker="", source=Source.parse(held.source),
        run=held.run, request_id=held.request_id, tenant=tenant, trace_id=held.trace_id, accepted_at=held.accepted_at,
        cost_id=cost_id, number=held.number, nano_usd=held.nano_usd, deployment=held.deployment, provider=held.provider,
        model=held.model, certainty="estimated", tokens_in=0, tokens_out=0, tokens_cached=0, tokens_cache_write=0,
        tokens_reasoning=0, price_version="",
    )  # fmt: skip
