"""Judges targets: what is missed, by how much, and when it is met again. Breaches are numbered, subject#n."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from projections.fold import LogRecord
from projections.measure import (
    HEALTH_WINDOW_S,
    MICRO,
    RANK,
    SEVERITY,
    SHORT,
    UNKNOWN,
    Measurement,
    Tally,
    measure,
    quality_window_s,
    tally_of_health,
    tally_of_requests,
    tally_of_scores,
)
from schemas.events import Event, SlaBreached, SlaMeasured, SlaRestored
from schemas.inforce import InForce
from schemas.merge import MINUTE, RequestTotals, merge_health
from schemas.policy import SlaTarget, covers
from schemas.state import HealthState, QualityState, SlaState

UNJUDGED = SlaState()
Stepped = tuple[SlaState, tuple[Event, ...]]


@dataclass(frozen=True, slots=True)
class Promise:
    """A target for one scope: what `scope` of the configuration expands to."""

    target: SlaTarget
    scope: str

    @property
    def window_s(self) -> int:
        """Seconds: what is judged, at most what is kept."""
        if self.target.metric == "quality":
            return quality_window_s(self.target.window_s)
        return self.target.window_s if self._whole else min(self.target.window_s, HEALTH_WINDOW_S)

    @property
    def subject(self) -> str:
        """`metric/scope/window`: names the target in state and transitions."""
        return f"{self.target.metric}/{self.scope}/{self.window_s}"

    @property
    def _whole(self) -> bool:
        return self.scope == "global" or self.scope.startswith("tenant:")


def promises(inforce: InForce, tenants: Iterable[str], owns: Callable[[str], bool]) -> dict[str, Promise]:
    """The targets in force that a partition owns, by subject; a scope that ends in `*` stands for all it matches. The first of
    two counts.
    """
    catalog = inforce.configuration.catalog
    named = {*tenants, *(tenant.id for tenant in inforce.configuration.tenants)}
    known = [
        *(f"tenant:{name}" for name in sorted(named)),
        *sorted({f"provider:{deployment.provider}" for deployment in catalog.deployments}),
        *(f"deployment:{deployment.id}" for deployment in catalog.deployments),
    ]
    found: dict[str, Promise] = {}
    for target in inforce.configuration.sla:
        scopes = [s for s in known if covers(target.scope, s)] if target.scope.endswith("*") else [target.scope]
        for scope in scopes:
            promise = Promise(target, scope)
            subject = promise.subject
            if subject not in found and owns(subject):
                found[subject] = promise
    return found


@dataclass(frozen=True, slots=True)
class Evidence:
    """What targets are measured by: merged counts of requests, health and feedback by deployment."""

    requests: RequestTotals
    health: Mapping[str, HealthState]
    quality: Mapping[str, QualityState]

    def tally(self, inforce: InForce, metric: str, scope: str, window_s: float, now: int) -> Tally:
        """Counts that a metric of a scope needs, over a window that ends at `now` (microseconds).

        Feedback is kept by deployment: of a tenant's quality nothing is known.
        """
        kind, _, name = scope.partition(":")
        if kind in ("global", "tenant") and metric != "quality":
            return tally_of_requests(self.requests.window(scope, window_s, now), window_s)
        ids = [
            deployment.id for deployment in inforce.configuration.catalog.deployments
            if name == (deployment.provider if kind == "provider" else deployment.id)
        ]  # fmt: skip
        if metric == "quality":
            # Also of deployments that are no longer in the catalog: their answers were given.
            scored = {"global": list(self.quality), "tenant": []}.get(kind, ids)
            return tally_of_scores((self.quality[each] for each in scored if each in self.quality), window_s, now)
        state = merge_health(self.health[each] for each in ids if each in self.health)
        return tally_of_health(state, window_s, now)


def judge_sla(
    promised: Mapping[str, Promise], inforce: InForce, evidence: Evidence, judged: Mapping[str, SlaState], now: int,
    owns: Callable[[str], bool], derived_from: str,
) -> list[Event]:  # fmt: skip
    """What is new about the targets that this partition owns. `now`: microseconds; `judged`: by Promise.subject.

    A measurement a minute and when the status changes; a breach when one begins or worsens; a restoration when the target is
    met again, when the window is empty or when nobody asks for the target any more.
    """
    events: list[Event] = []
    for subject, promise in promised.items():
        window_s = promise.window_s
        metric, scope = promise.target.metric, promise.scope
        measured = recent = measure(promise.target, evidence.tally(inforce, metric, scope, window_s, now))
        # Where the whole window is empty its end is too: most of many tenants are quiet.
        if measured.sample:
            short_s = max(60.0, window_s / SHORT)
            recent = measure(promise.target, evidence.tally(inforce, metric, scope, short_s, now))
        judge = _Judge(subject, promise, measured, recent.burn, judged.get(subject, UNJUDGED), now, derived_from)
        events += judge.events()
    for subject, state in judged.items():
        if state.severity and subject not in promised and owns(subject):
            events.append(_restored(subject, state, UNKNOWN, 0, "the target is no longer in force", now, derived_from))
    return events


@dataclass(frozen=True, slots=True)
class _Judge:
    subject: str
    promise: Promise
    measured: Measurement
    burn_short: int
    state: SlaState
    now: int
    derived_from: str

    def events(self) -> list[Event]:
        state, measured = self.state, self.measured
        if self.now < state.measured_at:
            return []
        events: list[Event] = []
        idle = state.measured_at > 0 and measured.sample == state.sample == 0 and measured.status == state.status
        changed = measured.status != state.status
        if changed or (self.now // MINUTE > state.measured_at // MINUTE and not idle):
            events.append(self._measured())
        severity = SEVERITY.get(measured.status, "")
        if RANK[measured.status] > RANK[_status(state.severity)]:
            events.append(self._breached(severity))
        elif state.severity and measured.status == "met":
            events.append(self._restored("the target is met"))
        elif state.severity and measured.status == "unknown" and measured.sample == 0:
            events.append(self._restored("the window is empty"))
        return events

    def _measured(self) -> SlaMeasured:
        target, measured = self.promise.target, self.measured
        return SlaMeasured(
            event_id=f"{self.derived_from}/SlaMeasured/{self.subject}", occurred_at=self.now, worker="",
            subject=self.subject, derived_from=self.derived_from, logged_at=self.now, metric=target.metric,
            scope=self.promise.scope, window_s=self.promise.window_s, status=measured.status,
            value_micros=measured.value, target_micros=round(target.target * MICRO), sample=measured.sample,
            burn_milli=measured.burn, burn_short_milli=self.burn_short,
        )  # fmt: skip

    def _breached(self, severity: str) -> SlaBreached:
        target, measured, state = self.promise.target, self.measured, self.state
        number = state.number if state.severity else state.number + 1
        return SlaBreached(
            event_id=f"{self.derived_from}/SlaBreached/{self.subject}#{number}/{severity}", occurred_at=self.now,
            worker="", subject=self.subject, derived_from=self.derived_from, logged_at=self.now, number=number,
            metric=target.metric, scope=self.promise.scope, window_s=self.promise.window_s, severity=severity,
            value_micros=measured.value, target_micros=round(target.target * MICRO), sample=measured.sample,
            burn_milli=measured.burn, burn_short_milli=self.burn_short,
        )  # fmt: skip

    def _restored(self, reason: str) -> SlaRestored:
        measured = self.measured
        return _restored(self.subject, self.state, measured.value, measured.sample, reason, self.now, self.derived_from)


def _status(severity: str) -> str:
    return next((status for status, name in SEVERITY.items() if name == severity), "met")


def _restored(
    subject: str, state: SlaState, value: int, sample: int, reason: str, now: int, derived_from: str
) -> SlaRestored:
    return SlaRestored(
        event_id=f"{derived_from}/SlaRestored/{subject}#{state.number}", occurred_at=now, worker="", subject=subject,
        derived_from=derived_from, logged_at=now, number=state.number, metric=state.metric, scope=state.scope,
        window_s=state.window_s, value_micros=value, target_micros=state.target, sample=sample,
        breached_at=state.breached_at, reason=reason,
    )  # fmt: skip


class SlaFold:
    """kind `sla`: `metric/scope/window` -> SlaState, from the judge's own events."""

    kind: str = "sla"
    version: int = 1
    reads: tuple[type[Event], ...] = (SlaMeasured, SlaBreached, SlaRestored)

    def initial(self) -> SlaState:
        return UNJUDGED

    def subject(self, event: Event) -> str | None:
        return event.subject if isinstance(event, SlaMeasured | SlaBreached | SlaRestored) else None

    def step(self, state: SlaState, record: LogRecord, inforce: InForce) -> Stepped:
        match record.event:
            case SlaMeasured() as event:
                if event.logged_at <= state.measured_at:
                    return state, ()
                return SlaState(
                    event.metric, event.scope, event.window_s, event.status, state.severity, state.number,
                    state.breached_at, event.logged_at, event.value_micros, event.target_micros, event.sample,
                    event.burn_milli, event.burn_short_milli,
                ), ()  # fmt: skip
            case SlaBreached() as event:
                again = event.number == state.number and state.severity
                worse = RANK[_status(event.severity)] > RANK[_status(state.severity)]
                if event.number < state.number or (event.number == state.number and not (again and worse)):
                    return state, ()
                return SlaState(
                    event.metric, event.scope, event.window_s, _status(event.severity), event.severity, event.number,
                    state.breached_at if again else event.logged_at, max(state.measured_at, event.logged_at),
                    event.value_micros, event.target_micros, event.sample, event.burn_milli, event.burn_short_milli,
                ), ()  # fmt: skip
            case SlaRestored() as event:
                if event.number != state.number or not state.severity:
                    return state, ()
                return replace(
                    state, status="met" if event.value_micros != UNKNOWN else "unknown", severity="",
                    measured_at=max(state.measured_at, event.logged_at), value=event.value_micros, sample=event.sample,
                ), ()  # fmt: skip
            case _:
                return state, ()

    def tick(self, state: SlaState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        return state, ()
