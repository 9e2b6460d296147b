"""Alarms against what was injected: `python -m infra.bench.alarms [--seeds 20] [--breaches 100] [--json FILE]`.

Detection: per seed three deployments are called about once a second for an hour. Each has one incident of ten minutes that is
known: failures (20 to 60 %) or slowness (1.6 to 4 times), the third has none. The real folds count, the real judges look every
five seconds: targets (success rate >= 0.9, p95 <= 2 s, over 300 s) and anomalies (two sigma, minute by minute).
`sla_delay_s`, `anomaly_delay_s`: from the incident's begin to the alarm; `restored_delay_s`: from its end to the restoration.
False alarms are breaches that do not touch an incident, and anomalies outside one and the quarter of an hour after it, in which
the baseline still holds its minutes.

Root cause: per breach 1,200 attempts before and 400 in it, by deployment, provider, model, region and tenant, with one value
of one dimension (or one kind of failure, or one moment) failing more. `cause_named`: how often the best explanation is it.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from projections.anomaly import AnomalyFold, judge_anomalies
from projections.attribution import Part, explanations
from projections.breach import Evidence, SlaFold, judge_sla, promises
from projections.fold import LogRecord
from projections.health import HealthFold
from schemas.events import AnomalyDetected, AttemptFailed, AttemptSucceeded, Event, SlaBreached, SlaRestored
from schemas.failures import Failure
from schemas.ids import Source
from schemas.inforce import InForce
from schemas.merge import RequestTotals
from schemas.policy import Configuration
from schemas.state import HealthState
from schemas.units import MICROS_PER_S

START = 1_790_000_040 * MICROS_PER_S
SECONDS, LASTS_S, JUDGED_S, WINDOW_S = 3_600, 600, 5, 300
AFTERMATH_S = 15 * 60
BASE_FAILURES, LATENCY_MS, SPREAD = 0.01, 800.0, 0.35
NAMES = ("failing", "slow", "well")
CONFIGURATION = Configuration.model_validate({
    "catalog": {
        "models": [{"id": "m"}],
        "deployments": [
            {"id": name, "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1"} for name in NAMES
        ],
    },
    "sla": [
        {"metric": "success_rate", "scope": "deployment:*", "target": 0.9, "window_s": WINDOW_S},
        {"metric": "latency_p95_ms", "scope": "deployment:*", "target": 2_000, "window_s": WINDOW_S},
    ],
})  # fmt: skip
INFORCE = InForce(configuration=CONFIGURATION)
CALLED: dict[str, Any] = {
    "event_id": "", "worker": "", "run": 1, "tenant": "t", "trace_id": "", "number": 1, "model": "m", "request_id": "",
    "provider": "openai", "tier": "primary", "provider_request_id": "", "circuit_epoch": 0, "trial": False, "task": "",
    "source": Source("llm.requests", 0, 0),
}  # fmt: skip
Incident = tuple[int, int]
"""Seconds from the start: begin, end."""
EXPECTED = {
    "failing": ("success_rate", "failure_share"),
    "slow": ("latency_p95_ms", "latency_p50_ms"),
}
"""Deployment -> the target and the measure that its incident must show in."""


@dataclass
class Watched:
    """What the judges said of one seed, by deployment: seconds from the start."""

    incidents: Mapping[str, Incident]
    breached: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    restored: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    anomalies: list[tuple[str, str, int]] = field(default_factory=list)

    def delays(self, told: Mapping[tuple[str, str], Sequence[int]], which: int, end: int) -> list[int | None]:
        """Of each incident's own alarm: seconds after its begin (`end` 0) or end (1); None where there was none."""
        found: list[int | None] = []
        for name, span in self.incidents.items():
            moments = [at for at in told.get((name, EXPECTED[name][which]), ()) if at >= span[end]]
            found.append(min(moments) - span[end] if moments else None)
        return found

    @property
    def false_breaches(self) -> int:
        """Of targets that no incident explains: nothing of it lies in their window."""
        return sum(
            not any(name == hit and begin <= at <= end + WINDOW_S for hit, (begin, end) in self.incidents.items())
            for (name, _), moments in self.breached.items() for at in moments
        )  # fmt: skip

    @property
    def false_anomalies(self) -> int:
        return sum(
            not any(name == hit and begin <= at <= end + AFTERMATH_S for hit, (begin, end) in self.incidents.items())
            for name, _, at in self.anomalies
        )


def called(name: str, now: int, rng: np.random.Generator, failing: float, slower: float) -> Event:
    """One call that ended `now`."""
    shared = CALLED | {"deployment": name, "occurred_at": now, "accepted_at": now}
    latency_ms = LATENCY_MS * slower * float(np.exp(SPREAD * rng.standard_normal()))
    if rng.random() < failing:
        return AttemptFailed(
            **shared, failure=Failure.SERVER_ERROR.value, http_status=500, latency_ms=latency_ms, retry_after_ms=0,
            next_action="other", counts_toward_circuit=True, billed="no", provider_code="", jitter=0.0,
        )  # fmt: skip
    return AttemptSucceeded(
        **shared, http_status=200, latency_ms=latency_ms, first_token_ms=0.0, tokens_in=10, tokens_out=20,
        tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0, finish_reason="stop",
    )  # fmt: skip


def watched(seed: int) -> Watched:
    """An hour of three deployments, folded and judged."""
    rng = np.random.default_rng((seed, 1))
    begins = rng.integers(1_200, 2_000, 2)
    incidents: dict[str, Incident] = {
        name: (int(begin), int(begin) + LASTS_S) for name, begin in zip(("failing", "slow"), begins, strict=True)
    }
    failing, slower = rng.uniform(0.2, 0.6), rng.uniform(1.6, 4.0)
    health = dict.fromkeys(NAMES, HealthState())
    folds: dict[str, Any] = {"sla": SlaFold(), "anomaly": AnomalyFold()}
    judged: dict[str, dict[str, Any]] = {"sla": {}, "anomaly": {}}
    fold, seen = HealthFold(), Watched(incidents)
    promised = promises(INFORCE, (), lambda _: True)
    for second in range(SECONDS):
        now = START + second * MICROS_PER_S
        for name in NAMES:
            begin, end = incidents.get(name, (SECONDS, SECONDS))
            hit = begin <= second < end
            event = called(
                name, now, rng, failing if hit and name == "failing" else BASE_FAILURES,
                slower if hit and name == "slow" else 1.0,
            )  # fmt: skip
            health[name], _ = fold.step(health[name], LogRecord("llm.attempts", 0, second, now, event), INFORCE)
        if second % JUDGED_S:
            continue
        evidence = Evidence(RequestTotals(), health, {})
        position = f"llm.attempts-0-{second}"
        told = judge_sla(promised, INFORCE, evidence, judged["sla"], now, lambda _: True, position)
        told += judge_anomalies(health, judged["anomaly"], now, lambda _: True, position)
        for event in told:
            kind = "anomaly" if isinstance(event, AnomalyDetected) else "sla"
            subject = folds[kind].subject(event)
            state = judged[kind].get(subject, folds[kind].initial())
            judged[kind][subject], _ = folds[kind].step(
                state, LogRecord("llm.transitions", 0, second, now, event), INFORCE
            )
            _note(seen, event, second)
    return seen


def _note(seen: Watched, event: Event, second: int) -> None:
    match event:
        case SlaBreached():
            seen.breached.setdefault((event.scope.partition(":")[2], event.metric), []).append(second)
        case SlaRestored():
            seen.restored.setdefault((event.scope.partition(":")[2], event.metric), []).append(second)
        case AnomalyDetected():
            seen.anomalies.append((event.deployment, event.measure, second))


DIMENSIONS = ("deployment", "tenant", "model", "region", "provider", "failure", "time")
KINDS = ("server_error", "timeout", "connection_reset")
PLACES = tuple(
    # Every model, region and provider has several deployments, and no two of these coincide.
    {"deployment": f"d{n:02}", "model": f"m{n % 4}", "region": f"r{n // 4}", "provider": f"p{(n + n // 4) % 3}"}
    for n in range(12)
)
TENANTS = tuple(f"t{n}" for n in range(6))
BEFORE, DURING, MOMENTS = 1_200, 400, 10


def cause_of(seed: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """What was injected and what was named: dimension and value."""
    rng = np.random.default_rng((seed, 2))
    dimension = DIMENSIONS[int(rng.integers(len(DIMENSIONS)))]
    values = {"failure": KINDS, "tenant": TENANTS, "time": tuple(f"{n}" for n in range(MOMENTS))}.get(
        dimension
    ) or tuple(sorted({place[dimension] for place in PLACES}))
    value = values[int(rng.integers(len(values)))]
    more, base = float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.01, 0.04))
    counts: dict[tuple[str, str], Counter[str]] = {}
    for number in range(BEFORE + DURING):
        during = number >= BEFORE
        moment = str((number - BEFORE) * MOMENTS // DURING) if during else "before"
        known = PLACES[int(rng.integers(len(PLACES)))] | {"tenant": TENANTS[int(rng.integers(6))], "time": moment}
        kind = KINDS[int(rng.integers(len(KINDS)))] if rng.random() < base else ""
        # A kind of failure hits everybody.
        if during and not kind and dimension == "failure" and rng.random() < more / 2:
            kind = value
        elif during and not kind and known.get(dimension) == value and rng.random() < more:
            kind = KINDS[int(rng.integers(len(KINDS)))]
        for name, of in ({**known, "failure": kind} if kind else known).items():
            count = counts.setdefault((name, of), Counter())
            count["whole" if during else "whole_before"] += 1
            count["bad" if during else "bad_before"] += bool(kind)
    parts = [
        # As `turnout report cause` has it: every attempt could have failed in every way.
        Part(name, of, count["bad"], DURING if name == "failure" else count["whole"], count["bad_before"],
             BEFORE if name == "failure" else count["whole_before"])
        for (name, of), count in sorted(counts.items())
    ]  # fmt: skip
    found = explanations(parts)
    return (dimension, value), ((found[0].dimension, found[0].value) if found else ("", ""))


def measure(seeds: int, breaches: int) -> dict[str, float | None]:
    """Every figure; delays in seconds, as median and 95th percentile of the incidents that were found."""
    hours = [watched(seed) for seed in range(seeds)]
    figures: dict[str, float | None] = {"incidents": 2 * seeds}

    def delayed(name: str, delays: Iterator[int | None]) -> None:
        every = list(delays)
        known = [delay for delay in every if delay is not None]
        figures[f"{name}_missed"] = len(every) - len(known)
        for q in (50, 95):
            figures[f"{name}_delay_s_p{q}"] = round(float(np.percentile(known, q)), 1) if known else None

    delayed("sla", (delay for hour in hours for delay in hour.delays(hour.breached, 0, 0)))
    delayed("restored", (delay for hour in hours for delay in hour.delays(hour.restored, 0, 1)))
    delayed("anomaly", (delay for hour in hours for delay in hour.delays(_moments(hour.anomalies), 1, 0)))
    deployment_hours = seeds * len(NAMES) * SECONDS / 3_600
    figures["false_breaches_per_deployment_hour"] = sum(hour.false_breaches for hour in hours) / deployment_hours
    figures["false_anomalies_per_deployment_hour"] = sum(hour.false_anomalies for hour in hours) / deployment_hours
    named = [cause_of(seed) for seed in range(breaches)]
    figures["breaches"] = breaches
    figures["cause_named"] = sum(injected == found for injected, found in named) / breaches
    figures["dimension_named"] = sum(injected[0] == found[0] for injected, found in named) / breaches
    return figures


def _moments(anomalies: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for name, measure, at in anomalies:
        found.setdefault((name, measure), []).append(at)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, one a line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.alarms", description="Alarms against what was injected."
    )
    parser.add_argument("--seeds", type=int, default=20, help="hours watched (default 20)")
    parser.add_argument("--breaches", type=int, default=100, help="breaches explained (default 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args(arguments)
    if given.seeds < 1 or given.breaches < 1:
        parser.error("--seeds and --breaches must be 1 or more")
    figures = measure(given.seeds, given.breaches)
    for name, value in figures.items():
        print(f"{name:36} {'none' if value is None else f'{value:.4g}'}")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
