"""`python -m infra.bench.folds`: events a second that one process folds, and whether a resumed fold comes to the same.

The logs are seeded: many calls of a second to 40 deployments with failures, outages, probes and ticks; reservations and
charges of 50 tenants, some of which expire. Folding alone is timed, flushes of snapshots every half second of the log
included; decoding has a figure of its own, for a projector does both.

`past_equal`: at 50 moments the state folded from what llm.state holds of that time, half of it compacted, is that of a fresh
fold up to it. `cold_start_ms`: how long a projector that starts takes to read the published states of a log of --cold-events
and to fold what came after the last of them; Kafka's own way and the joining of the group come on top.
"""

import argparse
import gc
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.bench.marks import machine_ms
from projections.circuit import CircuitFold
from projections.fold import LogRecord
from projections.health import HealthFold
from projections.partition import FOLDS, Fold, PartitionProjection
from projections.spend import SpendFold
from schemas.codec import Codec
from schemas.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    ClockTicked,
    CostIncurred,
    CostReserved,
    Event,
    ProbeFailed,
    ProbeSucceeded,
)
from schemas.ids import Source
from schemas.inforce import InForce
from schemas.snapshots import Snapshot, encode_value
from schemas.units import MICROS_PER_S
from streams.past import starting_point

START = 1_790_000_000 * MICROS_PER_S
EVENTS_PER_S = 2_000
"""How dense the log is in broker time: what one partition of a busy cluster carries."""
TICK_EVERY = 5 * EVENTS_PER_S
FLUSH_EVERY = EVENTS_PER_S // 2
ROUNDS, MOMENTS = 3, 50
DEPLOYMENTS = tuple(f"deployment-{number}" for number in range(40))
TENANTS = tuple(f"tenant-{number}" for number in range(50))
PROVIDERS = ("openai", "anthropic", "google", "local")


def placed(topic: str, count: int, event_at: Callable[[int, int], Event]) -> list[LogRecord]:
    """`count` records of partition 0, a tick at every fifth second of broker time."""
    records = []
    for offset in range(count):
        now = START + offset * MICROS_PER_S // EVENTS_PER_S
        event = ticked(topic, now) if offset % TICK_EVERY == TICK_EVERY - 1 else event_at(offset, now)
        records.append(LogRecord(topic, 0, offset, now, event))
    return records


def ticked(topic: str, now: int) -> ClockTicked:
    return ClockTicked(event_id=f"w/{now}", occurred_at=now, worker="w", topic=topic, partition=0, control_offset=-1)


def of_request(number: int, now: int) -> dict[str, Any]:
    return {
        "event_id": f"llm.requests-0-{number}/1/a", "occurred_at": now, "worker": "worker-1", "run": 1,
        "source": Source("llm.requests", number % 8, number), "request_id": f"request-{number}",
        "tenant": TENANTS[number % len(TENANTS)], "trace_id": "", "accepted_at": now,
    }  # fmt: skip


def attempts(count: int, seed: int = 7) -> list[LogRecord]:
    """Half of the records start a call, the others end one: 3 % fail, a deployment in outage fails always."""
    chance = random.Random(seed)
    down: dict[str, int] = {}

    def event_at(offset: int, now: int) -> Event:
        deployment = chance.choice(DEPLOYMENTS)
        provider = PROVIDERS[hash_of(deployment) % len(PROVIDERS)]
        if chance.random() < 20 / EVENTS_PER_S / 10:
            down[deployment] = now + 20 * MICROS_PER_S
        failing = down.get(deployment, 0) > now
        # The circuit's epoch moves with its transitions; a high one is never too old.
        probe: dict[str, Any] = {
            "event_id": f"p{offset}", "occurred_at": now, "worker": "w", "deployment": deployment, "provider": provider,
            "circuit_epoch": 1_000_000, "latency_ms": 80.0, "http_status": 200, "jitter": chance.uniform(-1, 1),
        }  # fmt: skip
        if chance.random() < 0.02:
            return ProbeFailed(**probe, failure="connect") if failing else ProbeSucceeded(**probe)
        call = of_request(offset // 2, now) | {
            "number": 1, "deployment": deployment, "provider": provider, "model": f"model-{provider}", "tier": "primary",
            "circuit_epoch": 1_000_000, "trial": True,
        }  # fmt: skip
        if offset % 2:
            return AttemptStarted(**call, deadline_at=now + 60 * MICROS_PER_S)
        latency = chance.lognormvariate(6, 0.5)
        if failing or chance.random() < 0.03:
            return AttemptFailed(
                **call, task="code", failure="server_error", http_status=500, latency_ms=latency, retry_after_ms=0,
                next_action="other", counts_toward_circuit=True, billed="no", provider_code="", provider_request_id="",
                jitter=chance.uniform(-1, 1),
            )  # fmt: skip
        return AttemptSucceeded(
            **call, task="code", http_status=200, latency_ms=latency, first_token_ms=latency / 4, tokens_in=300,
            tokens_out=200, tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0, finish_reason="stop",
            provider_request_id="",
        )  # fmt: skip

    return placed("llm.attempts", count, event_at)


def costs(count: int, seed: int = 7) -> list[LogRecord]:
    """A reservation and the charge that settles it one second later; one in 500 is never settled and expires."""
    chance = random.Random(seed)
    open_calls: list[dict[str, Any]] = []

    def event_at(offset: int, now: int) -> Event:
        if offset % 2 and len(open_calls) > EVENTS_PER_S // 2:
            call = open_calls.pop(chance.randrange(100))
            if chance.random() >= 0.002:
                return CostIncurred(
                    **call, certainty="certain", tokens_in=300, tokens_out=200, tokens_cached=0, tokens_cache_write=0,
                    tokens_reasoning=0, price_version="2026-09",
                )  # fmt: skip
        deployment = chance.choice(DEPLOYMENTS)
        provider = PROVIDERS[hash_of(deployment) % len(PROVIDERS)]
        call = of_request(offset, now) | {
            "cost_id": f"llm.requests-0-{offset}/1/1", "number": 1, "nano_usd": chance.randrange(10_000_000),
            "deployment": deployment, "provider": provider, "model": f"model-{provider}",
        }  # fmt: skip
        call["tenant"] = chance.choice(TENANTS)
        open_calls.append(call)
        return CostReserved(**call, deadline_at=now + 2 * MICROS_PER_S)

    return placed("llm.costs", count, event_at)


def hash_of(name: str) -> int:
    """The same in every process, unlike hash()."""
    return sum(name.encode())


def projection(topic: str, folds: Sequence[Fold]) -> PartitionProjection:
    nothing = InForce()
    return PartitionProjection(topic, 0, folds, lambda offset: nothing)


def fold_speed(records: Sequence[LogRecord], folds: Sequence[Fold]) -> float:
    """Events a second of processor time, the best of some rounds; snapshots are made as a projector makes them."""
    best = float("inf")
    for _ in range(ROUNDS):
        projected = projection(records[0].topic, folds)
        gc.collect()
        started = time.process_time()
        for record in records:
            projected.apply(record)
            if record.offset % FLUSH_EVERY == 0:
                projected.flush(1)
        best = min(best, time.process_time() - started)
    return len(records) / best


def decode_speed(records: Sequence[LogRecord]) -> float:
    """Events a second of processor time that the Avro codec reads."""
    codec = Codec()
    values = [codec.encode(record.event) for record in records]
    started = time.process_time()
    for value in values:
        codec.decode(value)
    return len(values) / (time.process_time() - started)


def values_of(projected: PartitionProjection, folds: Sequence[Fold]) -> dict[tuple[str, str], bytes]:
    return {
        (fold.kind, subject): encode_value(projected.snapshot(fold.kind, subject))
        for fold in folds
        for subject in projected.subjects(fold.kind)
    }


def replay_equal(records: Sequence[LogRecord], folds: Sequence[Fold], seed: int = 7) -> bool:
    """A fold that loses its memory at ten moments and restores its last flush ends with the bytes and events of one

    that never did. What was derived between the flush and the loss is derived again, the same.
    """
    chance = random.Random(seed)
    losses = sorted(chance.sample(range(len(records)), 10))
    whole, derived = projection(records[0].topic, folds), []
    for record in records:
        derived.append(whole.apply(record))
    state: dict[str, Snapshot] = {}
    resumed = projection(records[0].topic, folds)
    place = 0
    for loss in [*losses, len(records)]:
        while place < loss:
            if resumed.apply(records[place]) != derived[place]:
                return False
            if place % FLUSH_EVERY == 0:
                state |= {snapshot.key: snapshot for snapshot in resumed.flush(1)}
            place += 1
        if loss < len(records):
            resumed = projection(records[0].topic, folds)
            resumed.restore(state.values())
            place = resumed.covered + 1
    return values_of(whole, folds) == values_of(resumed, folds)


def past_equal(records: Sequence[LogRecord], kind: str, seed: int = 7) -> bool:
    """Whether the state at MOMENTS random instants equals a fresh fold of the log up to each."""
    folds, chance = FOLDS[kind], random.Random(seed)
    instants = sorted(chance.choice(records).logged_at for _ in range(MOMENTS))
    whole, written, wanted = projection(records[0].topic, folds), list[Snapshot](), list[dict[tuple[str, str], bytes]]()
    for record in records:
        while len(wanted) < MOMENTS and record.logged_at > instants[len(wanted)]:
            wanted.append(values_of(whole, folds))
        whole.apply(record)
        if record.offset % FLUSH_EVERY == 0:
            written += whole.flush(1)
    wanted += [values_of(whole, folds)] * (MOMENTS - len(wanted))
    cleaned = len(written) // 2
    last = {snapshot.key: place for place, snapshot in enumerate(written[:cleaned])}
    left = [each for place, each in enumerate(written) if place >= cleaned or last[each.key] == place]
    return all(
        _past(records, kind, left, at) == found for at, found in zip(instants, wanted, strict=True)
    )  # fmt: skip


def _past(
    records: Sequence[LogRecord], kind: str, published: Sequence[Snapshot], at: int
) -> dict[tuple[str, str], bytes]:
    resumed = projection(records[0].topic, FOLDS[kind])
    resumed.restore(starting_point(kind, published, at) or ())
    for record in records[resumed.covered + 1 :]:
        if record.logged_at > at:
            break
        resumed.apply(record)
    return values_of(resumed, FOLDS[kind])


def cold_start_ms(records: Sequence[LogRecord], kind: str) -> float:
    """Milliseconds of processor time from the bytes of llm.state and of the log's end to the states that go on."""
    folds, codec = FOLDS[kind], Codec()
    running, state = projection(records[0].topic, folds), dict[str, bytes]()
    flushed = (len(records) - FLUSH_EVERY // 2) // FLUSH_EVERY * FLUSH_EVERY
    for record in records[: flushed + 1]:
        running.apply(record)
        if record.offset % FLUSH_EVERY == 0:
            state |= {snapshot.key: codec.encode(snapshot) for snapshot in running.flush(1)}
    tail = [codec.encode(record.event) for record in records[flushed + 1 :]]
    gc.collect()
    started = time.process_time()
    resumed = projection(records[0].topic, folds)
    resumed.restore([codec.decode(value) for value in state.values()])  # type: ignore[misc]
    for value, record in zip(tail, records[resumed.covered + 1 :], strict=True):
        resumed.apply(replace(record, event=codec.decode(value)))  # type: ignore[arg-type]
    return (time.process_time() - started) * 1000


def main(given: argparse.Namespace) -> None:
    calls, money = attempts(given.events), costs(given.events)
    circuit, health, spend = CircuitFold(), HealthFold(), SpendFold()
    figures: dict[str, float | bool] = {
        "circuit_events_per_s": round(fold_speed(calls, [circuit])),
        "cost_events_per_s": round(fold_speed(money, [spend])),
        "attempts_events_per_s": round(fold_speed(calls, [circuit, health])),
        "decoded_events_per_s": round(decode_speed(calls[:50_000])),
        "replay_equal": replay_equal(calls, [circuit, health]) and replay_equal(money, [spend]),
        "past_equal": past_equal(calls, "attempts") and past_equal(money, "costs"),
        "cold_start_events": given.cold_events,
        "cold_start_ms": round(cold_start_ms(attempts(given.cold_events), "attempts")),
        "machine_ms": round(machine_ms(), 1),
    }
    print(f"circuit            {figures['circuit_events_per_s']:>9,} events/s")
    print(f"cost               {figures['cost_events_per_s']:>9,} events/s")
    print(f"circuit and health {figures['attempts_events_per_s']:>9,} events/s")
    print(f"decoding           {figures['decoded_events_per_s']:>9,} events/s")
    print(f"a resumed fold equals one that never stopped: {figures['replay_equal']}")
    print(f"the state at {MOMENTS} moments equals a fresh fold up to each: {figures['past_equal']}")
    print(f"a cold start after {given.cold_events:,} events: {figures['cold_start_ms']} ms")
    if given.json:
        Path(given.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m infra.bench.folds", description="Speed of the folds.")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--events", type=int, default=100_000, help="records of each log (default 100000)")
    parser.add_argument(
        "--cold-events", type=int, default=1_000_000, help="records before a cold start (default 1000000)"
    )
    main(parser.parse_args())
