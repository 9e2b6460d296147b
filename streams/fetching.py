"""When aiokafka asks the broker for more: once what it read was taken, and no more often than the reader can use.

aiokafka has one fetch a broker under way. As shipped it waits 100 ms for its user to take what it read and then asks for
the other partitions alone: the next records of those it left out wait until that fetch ends. A long poll would be their
latency, and a short one costs a millisecond of processor time each, idle or not.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer

TAKEN_S = 1.0


def pace(consumer: AIOKafkaConsumer, *, gather_s: Callable[[], float] | None = None) -> None:
    """Make a started consumer ask for all its partitions at once, however long it may wait for an answer.

    `gather_s`: how long after an answer with records the next one is asked for, so that records come in company; asked
    when that answer was taken. The first record after a silence does not wait.
    """
    fetcher = consumer._fetcher
    # Not for ever: what a paused partition has read must not stop the others.
    fetcher._prefetch_backoff = TAKEN_S
    if gather_s is None:
        return
    ask = fetcher._proc_fetch_request
    loop = asyncio.get_running_loop()
    answered_at = -math.inf

    async def ask_in_time(assignment: Any, node_id: int, request: Any) -> Any:
        nonlocal answered_at
        if (wait_s := answered_at + gather_s() - loop.time()) > 0:
            try:
                await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                # As the fetcher answers itself: whoever closes it awaits what it cancelled.
                return False
        found = await ask(assignment, node_id, request)
        if found:
            answered_at = loop.time()
        return found

    fetcher._proc_fetch_request = ask_in_time
