"""A world from a seed: workers, users, providers and faults in virtual time, then healing, then quiescence."""

import asyncio
import logging
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
import structlog
from simulation.broker import Broker, Unsent
from simulation.codec import ByReference
from simulation.defects import DEFECTS
from simulation.faults import plan_faults
from simulation.invariants import violations
from simulation.providers import Providers
from simulation.virtual import VirtualLoop
from simulation.worker import Worker

from schemas.events import BudgetSet, ConfigurationApplied
from schemas.inforce import digest_of, document_of
from schemas.policy import Configuration
from streams.topics import RequestTopic, Topics

PARTITIONS = 2
TOPICS = Topics("llm.", PARTITIONS, (RequestTopic("llm.requests", "llm.responses", "llm.chunks", None),))
DEADLINE_MS = 6_000
BUSY_S = 14.0
SETTLED_WITHIN_S = 40.0
SKIPPED_S = 45.0
"""More than the longest deadline and the 30 s after which a reservation expires."""
LAST_S = 8.0
"""A few ticks: charges are derived, published, folded and snapshotted."""


@cache
def _configuration() -> ConfigurationApplied:
    deployments = [
        {"id": name, "provider": "openai_compatible", "model": "m", "base_url": "http://127.0.0.1:1", "fallback_tier": tier}
        for name, tier in (("d1", "primary"), ("d2", "primary"), ("d3", "secondary"))
    ]  # fmt: skip
    model = {"id": "m", "price_usd_per_million": {"input": 1.0, "output": 2.0}}
    document = document_of(Configuration.model_validate({
        "catalog": {"models": [model], "deployments": deployments},
        "routing": {"strategy": "cost", "balancer": "round_robin", "cost_strategy": "minimize"},
        "circuit": {"failure_threshold": 3, "open_s": 5, "probe_interval_s": 2, "success_threshold": 2},
        "budgets": [{"scope": "global", "period": "day", "limit_usd": 0.01}],
    }))  # fmt: skip
    return ConfigurationApplied(
        event_id="c", occurred_at=0, worker="", document=document, digest=digest_of(document), author="simulation"
    )


@dataclass
class World:
    """Everything of one seed. `problems`: errors that no worker may raise; `faults`: the kinds that struck.

    `idle_until`: before it nobody starts."""

    seed: int
    defect: str | None
    trace: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    restarts: int = 0
    ill_until: float = 0.0
    idle_until: float = 0.0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.loop = VirtualLoop(random.Random(self.rng.getrandbits(64)))
        self.broker = Broker(self.loop, random.Random(self.rng.getrandbits(64)), PARTITIONS)
        self.providers = Providers(self.loop, random.Random(self.rng.getrandbits(64)))
        self.topics = TOPICS
        self.workers: dict[int, Worker] = {}
        self.parts: dict[str, Any] = DEFECTS[self.defect] if self.defect else {}
        self._started = 0
        self.codec = ByReference()

    def say(self, text: str) -> None:
        self.trace.append(f"{self.loop.time():8.3f} {text}")

    def fault(self, kind: str, text: str, seconds: float) -> None:
        """`seconds`: how long it lasts at most."""
        self.faults.append(kind)
        self.ill_until = max(self.ill_until, self.loop.time() + seconds)
        self.say(f"FAULT {text}")

    def start_worker(self, slot: int) -> None:
        self._started += 1
        name = f"w{slot}.{self._started}"
        self.say(f"start {name}")
        self.workers[slot] = Worker(
            name, self.loop, self.broker, TOPICS, self.providers, random.Random(self.rng.getrandbits(64)), self.parts,
            self.codec, self._worker_failed, self.say,
        )  # fmt: skip

    def _worker_failed(self, worker: Worker, error: BaseException) -> None:
        """As the real worker: it ends, and its supervisor starts it again."""
        if worker.process.dead:
            return
        self.say(f"{worker.name} failed: {type(error).__name__}: {error}")
        if type(error).__name__ not in ("LeaseLost", "MemberGone"):
            self.problems.append(f"{worker.name} raised {type(error).__name__}: {error}")
        slot = next(slot for slot, known in self.workers.items() if known is worker)
        self.restarts += 1
        self.kill(slot, restart_after=1.0)

    def kill(self, slot: int, restart_after: float | None) -> None:
        worker = self.workers.pop(slot, None)
        if worker is not None:
            worker.process.dead = True
        if restart_after is not None:
            self.loop.later(restart_after, self.bring_up, slot)

    def bring_up(self, slot: int) -> None:
        """Start a worker where none runs, once the idle time is over."""
        if (wait_s := self.idle_until - self.loop.now) > 0:
            self.loop.later(wait_s, self.bring_up, slot)
        elif slot not in self.workers:
            self.start_worker(slot)

    def publish(self, number: int, request_id: str, partition: int, *, broken: bool = False) -> None:
        body: Any = {"messages": [{"role": "user", "content": f"say {number}"}]}
        body["routing"] = {
            "tenant": f"t{number % 2}",
            "request_id": request_id,
            "deadline_ms": DEADLINE_MS,
            "task": "conversation",
        }
        value = b"{broken" if broken else orjson.dumps(body)
        headers = (("request-id", request_id.encode()),) if broken else ()
        offset = self.broker.append("llm.requests", partition, [Unsent(request_id.encode(), value, headers)])
        self.say(f"publish {request_id} at {partition}-{offset}")

    def _users(self) -> None:
        """Requests over the busy time, half of them in bursts; some are published twice."""
        rng = self.rng
        bursts = [rng.uniform(1.0, BUSY_S - 0.3) for _ in range(3)]
        for number in range(rng.randrange(10, 30)):
            at = rng.choice(bursts) + rng.uniform(0.0, 0.3) if rng.random() < 0.5 else rng.uniform(1.0, BUSY_S)
            partition, request_id = rng.randrange(PARTITIONS), f"r{number}"
            broken = rng.random() < 0.03
            self.loop.later(at, lambda n=number, r=request_id, p=partition, b=broken: self.publish(n, r, p, broken=b))
            if not broken and rng.random() < 0.15:
                again = min(BUSY_S, at + rng.uniform(0.0, 8.0))
                self.loop.later(again, lambda n=number, r=request_id, p=partition: self.publish(n, r, p))
        if rng.random() < 0.3:
            self.loop.later(rng.uniform(3.0, BUSY_S), self._command)

    def _command(self) -> None:
        event = BudgetSet(event_id="b", occurred_at=0, worker="", scope="global", period="day",
                          limit_nano_usd=self.rng.choice((1_000, 50_000_000)), at_limit="reject", author="s")  # fmt: skip
        self.broker.append(TOPICS.name("control"), 0, [Unsent(b"global", self.codec.encode(event), ())])
        self.say("budget set")

    async def _live(self) -> None:
        self.broker.append(TOPICS.name("control"), 0, [Unsent(b"", self.codec.encode(_configuration()), ())])
        for kind in ("state", "decisions", "attempts", "costs", "transitions"):
            for partition in range(PARTITIONS):
                self.broker.log(TOPICS.name(kind), partition)
        for slot in range(self.rng.choice((2, 2, 3))):
            self.loop.later(self.rng.uniform(0.0, 1.0), self.start_worker, slot)
        self._users()
        plan_faults(self)
        await asyncio.sleep(BUSY_S)
        await asyncio.sleep(max(0.0, self.ill_until - self.loop.time()) + 0.1)
        self.say("healed")
        for slot in (0, 1):
            self.bring_up(slot)
        bound = self.loop.time() + SETTLED_WITHIN_S
        while self.loop.time() < bound and not self._settled():
            await asyncio.sleep(1.0)
        self.say("settled" if self._settled() else "not settled")
        await asyncio.sleep(1.0)
        self.broker.skip(SKIPPED_S)
        await asyncio.sleep(LAST_S)

    def _settled(self) -> bool:
        """Every partition has an owner that lives, and every request is committed."""
        processes = sorted(worker.process.name for worker in self.workers.values())
        groups = self.broker.groups.values()
        committed = self.broker.groups["router"].committed
        return (
            all(group.deadline is None for group in groups)
            and all(sorted(name.split("/")[0] for name in group.members) == processes for group in groups)
            and all(worker.tasks.count == 0 for worker in self.workers.values())
            and all(
                committed.get(("llm.requests", number), 0) == len(self.broker.log("llm.requests", number))
                for number in range(PARTITIONS)
            )
        )

    def run(self) -> list[str]:
        """The violations found, one sentence each."""
        before = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            self.loop.run(self._live())
            return [*self.problems, *violations(self)]
        finally:
            structlog.configure(**before)
            for worker in self.workers.values():
                worker.process.dead = True


def simulate(seed: int, defect: str | None = None) -> tuple[World, list[str]]:
    """One world and what it broke."""
    world = World(seed, defect)
    return world, world.run()
