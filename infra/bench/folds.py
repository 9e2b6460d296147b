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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infra.bench.fold_logs import EVENTS_PER_S, attempts, costs
from infra.bench.marks import machine_ms
from projections.circuit import CircuitFold
from projections.fold import LogRecord
from projections.health import HealthFold
from projections.partition import FOLDS, Fold, PartitionProjection
from projections.spend import SpendFold
from schemas.codec import Codec
from schemas.inforce import InForce
from schemas.snapshots import Snapshot, encode_value
from streams.past import starting_point

FLUSH_EVERY = EVENTS_PER_S // 2
ROUNDS, MOMENTS = 3, 50


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
