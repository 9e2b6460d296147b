"""One run on a started stack: traffic, an outage in its middle, and the audit at its end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from infra.cli.options import codec_of
from infra.demo.audit import read_audit
from infra.demo.outside import Simulators
from infra.demo.progress import Progress
from infra.demo.report import Document, document_of
from infra.demo.traffic import CIRCUITS_S, SQL_S, Plan, Tally, drive
from infra.demo.warehouse import tables, wait_completed, wait_counts
from infra.local import Stack
from schemas.codec import Codec
from schemas.errors import OperationError
from streams.client import TurnoutClient
from streams.reader import group_less
from streams.settings import Settings
from streams.topics import topics_of
from streams.view import StateReader, StateView

FAULT = "status_500"
CHECK_S = 0.1


async def run_demo(stack: Stack, plan: Plan, *, live: bool) -> Document:
    """Send everything, wait for SQL to hold it, and tell what was found. Raises OperationError when a part died."""
    settings, kafka = stack.settings, stack.settings.kafka
    codec = await codec_of(settings)
    deployments = tuple(deployment.id for deployment in settings.catalog.deployments)
    tally, view = Tally(), StateView()
    async with contextlib.AsyncExitStack() as parts:
        simulators = Simulators(stack.ports.simulators)
        parts.push_async_callback(simulators.aclose)
        await parts.enter_async_context(_following(settings, codec, view))
        client = await parts.enter_async_context(TurnoutClient(kafka.access, kafka.topic_prefix))
        started = time.time_ns() // 1_000
        progress = Progress(plan, tally, view, deployments, live)
        moments: list[float] = []

        def switch(fault: str | None, words: str) -> Callable[[], Awaitable[None]]:
            async def do() -> None:
                await simulators.switch(plan.victim, fault)
                moments.append(progress.elapsed_s)
                progress.note(f"{plan.victim} {words}")

            return do

        events = {
            plan.down_at: switch(FAULT, "answers every call with HTTP 500 from now on"),
            plan.up_at: switch(None, "is well again"),
        }
        async with _alongside(progress.run(), _watched(stack)):
            await drive(client, plan, tally, events)
            ended = time.time_ns() // 1_000
            progress.note(f"{tally.sent} requests sent, every answer is in" if not tally.late else "traffic ended")
            await _closed(progress, plan.victim)
        completed = await wait_completed(settings, tally.sent, progress.started + SQL_S)
        audit = await read_audit(settings, codec, tally.story)
        in_sql = await wait_counts(settings, audit.ends, dict(audit.counts), progress.started + SQL_S)
        found = await tables(settings, started)
        calls = await simulators.calls()
    return document_of(
        plan, tally, audit, calls, found, in_sql, completed=completed, started=started, ended=ended,
        outage=(moments[0], moments[1]),
    )  # fmt: skip


async def _closed(progress: Progress, victim: str) -> None:
    """Wait until the victim's circuit has been open and is closed again; probes close it without traffic."""

    def again() -> bool:
        circuit = progress.view.circuits.get(victim)
        # Every transition raises the epoch, also one that was over before we looked.
        return circuit is not None and circuit.status == "closed" and circuit.epoch > 0

    if again():
        return
    progress.note(f"waiting for the circuit of {victim} to close")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(progress.started + CIRCUITS_S):
            while not again():
                await asyncio.sleep(CHECK_S)


@contextlib.asynccontextmanager
async def _following(settings: Settings, codec: Codec, view: StateView) -> AsyncIterator[None]:
    """Keep the view of circuits as new as the state topic."""
    topic = topics_of(settings).name("state")
    async with group_less(settings.kafka.access) as consumer:
        async with _alongside(StateReader(view, consumer, topic, codec).run()):
            yield


async def _watched(stack: Stack) -> None:
    """Raises OperationError when a child died: a demo of a broken stack shows nothing."""
    while True:
        for child in stack.children.values():
            if not child.running:
                raise OperationError(f"The {child.name} ended in the middle of the demo ({child.last_line()}).")
        if not stack.broker.running:
            raise OperationError(f"Kafka ended in the middle of the demo; see {stack.broker.log}.")
        await asyncio.sleep(1.0)


@contextlib.asynccontextmanager
async def _alongside(*works: Awaitable[None]) -> AsyncIterator[None]:
    """Run endless work beside the body; the first that fails ends the body with its error."""
    body = asyncio.current_task()
    assert body is not None
    failures: list[BaseException] = []

    def done(task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failures.append(error)
            body.cancel()

    tasks = [asyncio.ensure_future(work) for work in works]
    for task in tasks:
        task.add_done_callback(done)
    try:
        yield
    except asyncio.CancelledError:
        if failures:
            raise failures[0] from None
        raise
    finally:
        for task in tasks:
            task.remove_done_callback(done)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
