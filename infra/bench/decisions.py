"""`python -m infra.bench.decisions`: CPU time of a decision, event content included, beside LiteLLM's own selection.

Health of one deployment changes every 200 decisions, calls in flight and prompt lengths at each; one in 25 circuits is
open. `live`: health and what was learned of all deployments change every 50 decisions, and decisions are 10 ms apart.
The task is named by the request: reading it from text is measured by itself (`task_p95_us`).
"""

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from agents.routing.decide import decide
from agents.routing.kernel.lookup import COMPILED
from agents.routing.prepare import prepare
from agents.routing.task import task_of
from infra.bench.decision_world import NOW, asked, health, learned, world
from schemas.requests import parse_request
from schemas.state import HealthState
from schemas.units import MICROS_PER_S

SIZES = (4, 16, 50, 200)
STRATEGIES = ("cost", "speed", "quality", "reliability", "load_balanced", "weighted", "adaptive")
PARTS = 5
INSTALL = "pip install --target DIR litellm==1.106.2, then name it with --litellm DIR"
LIVE_EVERY = 50
"""Decisions between two snapshots of everything: half a second at 100 a second."""


Part = list[int]
"""CPU times of one stretch of decisions, ns."""


def least(parts: list[Part], high: int = 99) -> tuple[float, float]:
    """p50 and p99 (or another, in percent) in microseconds, of the parts the least of each.

    CPU time of a shared machine includes what a neighbour takes from its caches and clock; a part may be free of it.
    """
    ordered = [sorted(part) for part in parts]
    return min(part[len(part) // 2] for part in ordered) / 1000, min(
        part[len(part) * high // 100] for part in ordered
    ) / 1000


def percentiles(took_ns: list[int], high: int = 99) -> tuple[float, float]:
    """`least` of five parts, in the order of time."""
    size = max(1, len(took_ns) // PARTS)
    return least([took_ns[start : start + size] for start in range(0, size * min(PARTS, len(took_ns)), size)], high)


def timed(rounds: int, call: Callable[[int], object], between: Callable[[int], None]) -> Iterator[Part]:
    """Thread CPU of `call` in five parts, the first fifth of each left out. `between` changes the world, unmeasured."""
    size = rounds // PARTS
    for start in range(0, PARTS * size, size):
        took = []
        gc.collect()
        for number in range(start, start + size):
            between(number)
            started = time.thread_time_ns()
            call(number)
            took.append(time.thread_time_ns() - started)
        yield took[size // 5 :]


def in_turns(series: dict[str, Iterator[Part]]) -> dict[str, list[Part]]:
    """The parts of each series, taken in turns: what disturbs the machine for a second is not all that one of them saw."""
    taken = list(zip(*series.values(), strict=True))
    return {name: list(parts) for name, parts in zip(series, zip(*taken, strict=True), strict=True)}


def turnout(size: int, strategy: str, rounds: int) -> Iterator[Part]:
    """Decisions over `size` deployments."""
    rng = random.Random(size)
    view = world(size, rng)
    names = list(view.in_flight)
    requests = [asked(strategy, 10 + 7 * i) for i in range(50)]
    balancers = ("performance_based", "least_connections", "round_robin")
    configurations = [
        view.inforce.configuration.model_copy(
            update={"routing": view.inforce.configuration.routing.model_copy(update={"balancer": balancer})}
        )
        for balancer in balancers
    ]
    views = [
        replace(view, inforce=replace(view.inforce, configuration=configuration)) for configuration in configurations
    ]
    in_flight: Any = view.in_flight
    fresh: Any = view.health

    def change(number: int) -> None:
        in_flight[rng.choice(names)] = rng.randint(0, 20)
        if number % 200 == 199:
            fresh[rng.choice(names)] = health(rng)

    def call(number: int) -> object:
        return decide(
            requests[number % 50], "acme", views[number % 3], now=NOW + number * 3_000,
            deadline_at=NOW + 600 * MICROS_PER_S, seed=number,
        )  # fmt: skip

    return timed(rounds, call, change)


def live(size: int, strategy: str, rounds: int, intake: list[int]) -> Iterator[Part]:
    """As on the loop: health and what was learned of every deployment are other objects every half second.

    What taking the snapshots in costs goes to `intake`, ns.
    """
    rng = random.Random(size)
    view = world(size, rng)
    deployments = view.inforce.configuration.catalog.deployments
    requests = [asked(strategy, 10 + 7 * i) for i in range(50)]
    base = {deployment.id: learned(rng, deployment.model) for deployment in deployments}
    healths: Any = view.health
    experience: Any = view.learned
    in_flight: Any = view.in_flight

    def change(number: int) -> None:
        in_flight[rng.choice(deployments).id] = rng.randint(0, 20)
        if number % LIVE_EVERY:
            return
        for deployment in deployments:
            old = healths[deployment.id].buckets
            last = replace(old[-1], succeeded=old[-1].succeeded + 1, latency=dict(old[-1].latency))
            # Decoded anew, so that nothing of it is the same object.
            healths[deployment.id] = HealthState((*map(copy, old[:-1]), last))
            known = base[deployment.id]
            calls = (*known.calls["conversation"][:-1], replace(known.calls["conversation"][-1], succeeded=number))
            lengths = (
                *known.lengths["conversation"][:-1],
                replace(known.lengths["conversation"][-1], tokens_out=number),
            )
            experience[deployment.id] = replace(
                known, calls=known.calls | {"conversation": tuple(map(copy, calls))},
                lengths=known.lengths | {"conversation": tuple(map(copy, lengths))},
            )  # fmt: skip
        started = time.thread_time_ns()
        prepare(view, NOW + number * 10_000)
        intake.append(time.thread_time_ns() - started)

    def call(number: int) -> object:
        now = NOW + number * 10_000
        return decide(requests[number % 50], "acme", view, now=now, deadline_at=now + 60 * MICROS_PER_S, seed=number)

    return timed(rounds, call, change)


def task_us(rounds: int) -> tuple[float, float]:
    """Task of a prompt of 2,000 characters that names none: p50 and p95."""
    rng = random.Random(1)
    words = ("write", "a", "function", "that", "sorts", "the", "list", "explain", "why", "proof", "story", "report")
    requests = []
    for _ in range(50):
        text = " ".join(rng.choice(words) for _ in range(500))[:2_000]
        requests.append(parse_request(orjson.dumps({"messages": [{"role": "user", "content": text}]}), max_bytes=10**6))
    took = []
    for number in range(rounds):
        started = time.thread_time_ns()
        task_of(requests[number % 50])
        took.append(time.thread_time_ns() - started)
    return percentiles(took[rounds // 5 :], 95)


def litellm(folder: str, rounds: int) -> dict[str, tuple[float, float]]:
    """LiteLLM's selection by "SIZE STRATEGY", p50 and p99. Raises SystemExit that says what to do where it does not run."""
    script = Path(__file__).with_name("litellm_router.py")
    # -P: its neighbours here are no modules of LiteLLM's. The prices come with the package, not from the network.
    ran = subprocess.run(
        [sys.executable, "-P", str(script), str(rounds), *map(str, SIZES)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": folder, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )  # fmt: skip
    if ran.returncode:
        raise SystemExit(
            f"LiteLLM of {folder} did not run: {(ran.stderr.splitlines() or ['no reason'])[-1]}; {INSTALL}"
        )
    return {name: percentiles(took[rounds // 5 :]) for name, took in json.loads(ran.stdout).items()}


def compare(figures: dict[str, float], theirs: dict[str, tuple[float, float]]) -> None:
    """Add LiteLLM's figures and how many times ours they are."""
    for named, (p50, p99) in theirs.items():
        size, name = named.split()
        figures[f"litellm_{size}_{name}_p50_us"], figures[f"litellm_{size}_{name}_p99_us"] = p50, p99
        ratio = figures[f"litellm_{size}_{name}_over_turnout"] = p50 / figures[f"turnout_{size}_p50_us"]
        print(
            f"{size:>4} deployments  LiteLLM {name:8} p50 {p50:7.1f} us  p99 {p99:7.1f} us  {ratio:.1f} x Turnout's slowest p50"
        )


def empty(lasting_us: float, rounds: int) -> Iterator[Part]:
    """A loop over nothing, about as long as a decision: its p99 is the machine's, not the decision's."""
    steps = 1_000

    def call(_: int) -> None:
        for _ in range(steps):
            pass

    p50, _ = least(list(timed(rounds, call, lambda _: None)))
    steps = round(steps * lasting_us / p50)
    return timed(rounds, call, lambda _: None)


def report(figures: dict[str, float], world: str, taken: dict[str, list[Part]]) -> None:
    """Add and print p50 and p99 of each strategy, and the slowest of those without draws as `turnout`."""
    each = {strategy: least(parts) for strategy, parts in taken.items()}
    for strategy, (p50, p99) in each.items():
        figures[f"{strategy}_{world}_p50_us"], figures[f"{strategy}_{world}_p99_us"] = p50, p99
        print(f"{world.replace('_', ' '):>7} deployments  {strategy:14} p50 {p50:7.1f} us  p99 {p99:7.1f} us")
    others = [took for strategy, took in each.items() if strategy != "adaptive"]
    figures[f"turnout_{world}_p50_us"] = max(p50 for p50, _ in others)
    figures[f"turnout_{world}_p99_us"] = max(p99 for _, p99 in others)


def main(given: argparse.Namespace) -> None:
    figures: dict[str, float] = {"compiled": float(COMPILED)}
    print(
        "the kernel is compiled"
        if COMPILED
        else "the kernel runs as it stands: `make install` compiles it where a C compiler is"
    )
    for size in SIZES:
        report(figures, f"{size}", in_turns({name: turnout(size, name, given.rounds) for name in STRATEGIES}))
    intake: list[int] = []
    report(figures, "50_live", in_turns({name: live(50, name, given.rounds, intake) for name in STRATEGIES}))
    figures["turnout_50_live_intake_us"], _ = percentiles(intake)
    print(f"snapshots of 50 deployments taken in: {figures['turnout_50_live_intake_us']:.1f} us each time")
    figures["empty_50_p50_us"], figures["empty_50_p99_us"] = least(
        list(empty(figures["turnout_50_p50_us"], given.rounds))
    )
    print(f"a loop of that length that does nothing: p99 {figures['empty_50_p99_us']:.1f} us")
    figures["task_p50_us"], figures["task_p95_us"] = task_us(given.rounds)
    if given.litellm is None:
        print(f"the reference is absent: {INSTALL}")
    else:
        compare(figures, litellm(given.litellm, max(100, given.rounds // 10)))
    print(f"task from 2,000 characters: p50 {figures['task_p50_us']:.1f} us  p95 {figures['task_p95_us']:.1f} us")
    if given.json:
        text = json.dumps({name: round(figure, 1) for name, figure in figures.items()}, indent=2)
        Path(given.json).write_text(text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m infra.bench.decisions", description="Time of a decision.")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument(
        "--litellm", metavar="DIR", help="where LiteLLM is installed; the reference is left out by default"
    )
    parser.add_argument("--rounds", type=int, default=5_000, help="decisions of a strategy and size (default 5000)")
    main(parser.parse_args())
