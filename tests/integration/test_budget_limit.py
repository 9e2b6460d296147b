"""A budget of a dollar under fifty requests at once over two workers, one of which is killed with their calls open."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from loop import Bench, catalog, chat, prepared, settings_for
from processes import HeldProvider, WorkerProcess

from infra.kafka import EmbeddedKafka
from schemas.events import (
    AssignmentStarted,
    BudgetThresholdCrossed,
    CostEvent,
    CostIncurred,
    CostReserved,
    RequestCompleted,
)
from schemas.units import NANO

REQUESTS, AFTER = 50, 10
LIMIT, CALL = NANO, NANO // 25
HELD = "Wait for it."
ANSWER_TOKENS = 5
DEADLINE_MS = 60_000
TIMEOUT_S = 60


def pricey(base_url: str) -> dict[str, Any]:
    """Every answer of the provider, ANSWER_TOKENS long, costs CALL."""
    found = catalog(base_url, {"a": "primary", "b": "primary"})
    usd_per_million = CALL / ANSWER_TOKENS / NANO * 1_000_000
    found["models"][0]["price_usd_per_million"] = {"input": 0.0, "output": usd_per_million}
    for deployment in found["deployments"]:
        deployment["timeouts"] = {"first_byte_s": 50, "total_s": 55}
    return found


async def eventually(seen: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await seen():
            await asyncio.sleep(0.2)


def reached_limit(money: list[tuple[int, CostEvent]]) -> int:
    """When spent and reserved together reached the limit, in microseconds, by the order of the log."""
    total = 0
    held: dict[str, int] = {}
    for at, event in money:
        if isinstance(event, CostReserved):
            held[event.cost_id] = event.nano_usd
        elif isinstance(event, CostIncurred):
            held.pop(event.cost_id, None)
            total += event.nano_usd
        if total + sum(held.values()) >= LIMIT:
            return at
    raise AssertionError("the limit was never reached")


def asked(text: str) -> dict[str, Any]:
    return chat(text, tenant="acme", deadline_ms=DEADLINE_MS) | {"max_tokens": ANSWER_TOKENS}


async def test_the_limit_holds_but_for_what_was_in_flight(kafka: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    budget = {"scope": "tenant:acme", "period": "day", "limit_usd": LIMIT / NANO, "at_limit": "reject"}
    provider = HeldProvider()
    provider.held.add(HELD)
    async with provider.serving(), contextlib.AsyncExitStack() as ending:
        # Ticks so far apart that no judgement waits for one, nor needs one.
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, pricey(provider.base_url), budgets=[budget], worker={"tick_s": 3_600},
        ))  # fmt: skip

        async def started(name: str) -> WorkerProcess:
            worker = WorkerProcess(settings, tmp_path, name)
            ending.callback(worker.signal, signal.SIGKILL)
            return await worker.start()

        async with Bench(settings) as bench:
            dies, _ = await asyncio.gather(started("killed"), started("stays"))
            ids = [f"r-{number}" for number in range(REQUESTS)]
            await asyncio.gather(*(bench.publish(asked(HELD), request_id=each) for each in ids))

            async def reached() -> bool:
                """Every request is either with the provider or refused."""
                refused = await bench.records(bench.topics.requests[0].responses)
                return provider.waiting[HELD] + len(refused) >= REQUESTS

            await eventually(reached)
            dies.signal(signal.SIGKILL)
            assert await dies.ended() == -signal.SIGKILL

            async def taken_over() -> bool:
                owners = [e for e in await bench.events("costs") if isinstance(e, AssignmentStarted)]
                return len({e.worker for e in owners}) == 3

            await started("back")
            await eventually(taken_over)
            await provider.release()
            answers = await bench.answers_of(set(ids))

            async def crossed() -> bool:
                # Reservations reach the limit before anything is spent; what is spent crosses the others after that.
                return {50, 70, 85, 100} <= {
                    e.threshold for e in await bench.events("transitions") if isinstance(e, BudgetThresholdCrossed)
                }

            await eventually(crossed)
            late = [f"late-{number}" for number in range(AFTER)]
            await asyncio.gather(*(bench.publish(asked("After it."), request_id=each) for each in late))
            afterwards = await bench.answers_of(set(late))
            costs = await bench.stamped("costs")
            transitions = await bench.stamped("transitions")
            decisions = await bench.events("decisions")
    # What was reserved may settle a call or two below the limit: so many still fit.
    assert "budget_exhausted" in {answer.get("error", {}).get("code") for answer in afterwards.values()}
    answers |= afterwards
    for answer in answers.values():
        assert answer["routing"]["status"] == "ok" or answer["error"]["code"] == "budget_exhausted", answer
    assert {e.request_id for e in decisions if isinstance(e, RequestCompleted)} == {*ids, *late}

    money = [(at, event) for at, event in costs if isinstance(event, CostEvent)]
    spent = sum(event.nano_usd for _, event in money if isinstance(event, CostIncurred))
    # A call whose partition moved on is charged too, and may find no money for a second run.
    assert spent >= CALL * sum(answer["routing"]["status"] == "ok" for answer in answers.values())
    assert spent > 0
    judged = {e.threshold: at for at, e in transitions if isinstance(e, BudgetThresholdCrossed)}
    reached_at = reached_limit(money)
    in_flight = sum(event.nano_usd for at, event in money if at <= judged[100] and isinstance(event, CostReserved))
    assert spent - LIMIT <= in_flight
    print(f"{spent / NANO:.2f} of {LIMIT / NANO:.2f} USD spent, {in_flight / NANO:.2f} USD in flight when that was known, "
          f"{(judged[100] - reached_at) / 1e6:.2f} s after spent and reserved had reached it")  # fmt: skip
