"""The chunks of one streamed answer on their way out: the first token at once, then one record every 50 ms at most.

When a stream breaks, the next attempt starts again from its first token with a higher `attempt`; after a worker died, with a
higher `run`. A reader drops the text of every lower (run, attempt). The chunk with `last` ends it.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from agents.ports import RequestRecord, Sealed
from schemas.errors import ERROR_TYPES, RequestError

INTERVAL_S = 0.05
Delta = dict[str, Any]


class ChunkLog(Protocol):
    """`seal_chunk` makes a chunk a record and raises RequestError where it is too large; `chunk` hands it over, and the
    awaitable it returns is the broker's acknowledgement.
    """

    def seal_chunk(self, record: RequestRecord, body: Delta, request_id: str) -> Sealed: ...
    async def chunk(self, sealed: Sealed) -> Awaitable[object]: ...


class Chunks:
    """Owns the order of a request's chunks. `take` is what a provider's stream calls for every delta."""

    def __init__(self, log: ChunkLog, record: RequestRecord, request_id: str) -> None:
        self._log = log
        self._record = record
        self._request_id = request_id
        self._attempt = 0
        self._sequence = 0
        self._model = ""
        self._held: list[Delta] = []
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()
        self._acknowledgements: list[Awaitable[object]] = []
        self._left_out: RequestError | None = None
        self._last: Sealed | None = None

    def begin(self, attempt: int, model: str) -> None:
        """A new attempt: its chunks count from 0, and what was held of the one before is dropped."""
        self._stop_timer()
        self._attempt, self._sequence, self._model = attempt, 0, model
        self._held, self._sent_at, self._left_out = [], 0.0, None

    async def take(self, delta: Delta) -> None:
        """The next piece of the stream. Raises LeaseLost when we may not write any more."""
        self._held.append(delta)
        loop = asyncio.get_running_loop()
        wait_s = self._sent_at + INTERVAL_S - loop.time()
        if wait_s <= 0:
            self._stop_timer()
            await self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(wait_s, self._due)

    async def settle(self) -> None:
        """Seal the last chunk: what was still held with its finish reason. Until then a failure can still be told."""
        self._stop_timer()
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            await flushing
        if self._left_out is None:
            self._last = self._sealed(self._merged(), last=True)

    async def end(self, error: RequestError | None) -> None:
        """The last chunk, which `settle` sealed, or the error. Returns once all are acknowledged."""
        self._stop_timer()
        if self._flushing is not None:
            # Where that failed, the error says so.
            await asyncio.gather(self._flushing, return_exceptions=True)
        # A stream that lacks a piece does not end well, though the final answer may hold it.
        if error := error or self._left_out:
            said = {"message": error.message, "type": ERROR_TYPES[error.code], "code": error.code}
            self._last = self._sealed({"error": said}, last=True)
        if self._last is not None:
            async with self._order:
                self._acknowledgements.append(await self._log.chunk(self._last))
        for acknowledgement in self._acknowledgements:
            await acknowledgement

    def _due(self) -> None:
        self._timer = None
        self._flushing = asyncio.get_running_loop().create_task(self._flush())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _flush(self) -> None:
        async with self._order:
            # Looked at when it is our turn: the flush before may have taken it. The finish reason waits for the end: until
            # the events are written the answer is not final.
            if any("content" in delta or "tool_calls" in delta for delta in map(_first_delta, self._held)):
                self._sent_at = asyncio.get_running_loop().time()
                sealed = self._sealed(self._merged(keep_finish=True), last=False)
                if sealed is not None:
                    self._acknowledgements.append(await self._log.chunk(sealed))

    def _sealed(self, body: Delta, *, last: bool) -> Sealed | None:
        """The next chunk as a record; None, and the stream lacks a piece, where no record holds it."""
        routing = {
            "request_id": self._request_id,
            "run": self._record.run,
            "attempt": self._attempt,
            "sequence": self._sequence,
            "last": last,
        }
        self._sequence += 1
        chunk = {
            "id": f"chatcmpl-{self._request_id}",
            "object": "chat.completion.chunk",
            "created": self._record.accepted_at // 1_000_000,
            "model": self._model,
            "choices": body.get("choices", []),
            **({"error": body["error"]} if "error" in body else {}),
            "routing": routing,
        }
        try:
            return self._log.seal_chunk(self._record, chunk, self._request_id)
        except RequestError as error:
            self._left_out = error
            return None

    def _merged(self, *, keep_finish: bool = False) -> Delta:
        """What is held as one chunk. `keep_finish`: a finish reason stays behind for the last one."""
        choices: dict[int, Delta] = {}
        finished: list[Delta] = []
        for piece in self._held:
            for choice in piece.get("choices") or ():
                index = choice.get("index", 0)
                merged = choices.setdefault(index, {"index": index, "delta": {}, "finish_reason": None})
                _add(merged["delta"], choice.get("delta") or {})
                if choice.get("finish_reason") and keep_finish:
                    finished.append({"index": index, "delta": {}, "finish_reason": choice["finish_reason"]})
                elif choice.get("finish_reason"):
                    merged["finish_reason"] = choice["finish_reason"]
        self._held = [{"choices": finished}] if finished else []
        return {"choices": list(choices.values())}


def _first_delta(piece: Delta) -> Delta:
    choices = piece.get("choices") or [{}]
    return choices[0].get("delta") or {}


def _add(into: Delta, delta: Delta) -> None:
    """Texts are joined, lists (tool calls name their index) appended, anything else is set."""
    for name, item in delta.items():
        known = into.get(name)
        if isinstance(known, str) and isinstance(item, str) and name != "role":
            into[name] = known + item
        elif isinstance(known, list) and isinstance(item, list):
            into[name] = [*known, *item]
        elif item is not None or name not in into:
            into[name] = item
