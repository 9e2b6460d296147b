"""The demo's requests: drawn from a list of prompts with a seed, sent at a steady rate, counted as they are answered."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from schemas.errors import OperationError
from streams.client import TurnoutClient

TENANTS = ("acme", "globex", "initech")
# A run has one deadline, 90 s after its first request, and these are its parts.
TRAFFIC_S, ANSWERS_S, CIRCUITS_S, SQL_S = 45.0, 60.0, 72.0, 82.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. `rate`: requests a second; the outage is counted in requests, so every rate has its thirds."""

    requests: int
    rate: float
    seed: int
    victim: str = "alpha"

    @property
    def down_at(self) -> int:
        return self.requests // 3

    @property
    def up_at(self) -> int:
        return 2 * self.requests // 3


@dataclass(slots=True)
class Tally:
    """What the publisher saw. `late`: no answer in time; `fell_back`: ids of requests that needed another deployment."""

    sent: int = 0
    answered: int = 0
    errors: int = 0
    late: int = 0
    fell_back: list[str] = field(default_factory=list)
    story: str = ""

    def count(self, answer: Mapping[str, Any], victim: str) -> None:
        """One final answer. The first that fell back from the victim becomes the run's story."""
        routing = answer["routing"]
        attempts: list[dict[str, Any]] = routing.get("attempts") or []
        if "error" in answer:
            self.errors += 1
            return
        self.answered += 1
        if len(attempts) < 2:
            return
        self.fell_back.append(routing["request_id"])
        first, last = attempts[0], attempts[-1]
        if not self.story and first["deployment"] == victim != last["deployment"] and first.get("http_status") == 500:
            self.story = routing["request_id"]


def prompts() -> list[tuple[str, str]]:
    """(task, prompt), one for each line of prompts.txt."""
    text = resources.files("infra.demo").joinpath("prompts.txt").read_text(encoding="utf-8")
    pairs = (line.partition(": ") for line in text.splitlines() if line)
    return [(task, prompt) for task, _, prompt in pairs]


def bodies(plan: Plan) -> list[dict[str, Any]]:
    """The chat bodies of a run; the same seed gives the same."""
    rng, known = random.Random(plan.seed), prompts()
    made = []
    for _ in range(plan.requests):
        task, prompt = rng.choice(known)
        # One tenant has more traffic than the others, as everywhere.
        tenant = rng.choices(TENANTS, (3, 2, 1))[0]
        message = {"role": "user", "content": prompt}
        made.append({"messages": [message], "routing": {"tenant": tenant, "task": task}})
    return made


async def drive(
    client: TurnoutClient, plan: Plan, tally: Tally, events: Mapping[int, Callable[[], Awaitable[None]]]
) -> None:
    """Send everything on time and wait for every answer. `events`: what happens just before the nth request."""
    clock = asyncio.get_running_loop().time
    start = clock()
    async with asyncio.TaskGroup() as waiting:
        for number, body in enumerate(bodies(plan)):
            await asyncio.sleep(start + number / plan.rate - clock())
            if number in events:
                await events[number]()
            waiting.create_task(_ask(client, body, tally, plan.victim, start + ANSWERS_S))


async def _ask(client: TurnoutClient, body: dict[str, Any], tally: Tally, victim: str, deadline: float) -> None:
    try:
        request_id = await client.send(body)
        tally.sent += 1
        left_s = deadline - asyncio.get_running_loop().time()
        tally.count(await client.answer(request_id, left_s), victim)
    except OperationError:
        tally.late += 1
