"""A fetch that waits its turn ends quietly when its consumer closes: aiokafka awaits the fetches that it cancels."""

import asyncio
from types import SimpleNamespace
from typing import Any

from streams.fetching import TAKEN_S, pace


async def test_a_paced_fetch_waits_after_records_and_ends_quietly_when_cancelled() -> None:
    asked: list[object] = []

    async def ask(assignment: Any, node_id: int, request: Any) -> bool:
        asked.append(request)
        return True

    fetcher = SimpleNamespace(_prefetch_backoff=0.1, _proc_fetch_request=ask)
    consumer: Any = SimpleNamespace(_fetcher=fetcher)
    pace(consumer, gather_s=lambda: 3600.0)
    assert fetcher._prefetch_backoff == TAKEN_S
    assert await fetcher._proc_fetch_request(None, 1, "first")
    second = asyncio.ensure_future(fetcher._proc_fetch_request(None, 1, "second"))
    await asyncio.sleep(0)
    assert not second.done()
    second.cancel()
    assert await second is False
    assert asked == ["first"]
