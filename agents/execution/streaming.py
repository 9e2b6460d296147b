"""An answer as it comes: server-sent events under three limits, given on as OpenAI chunks, and whole at the end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import httpx

from agents.execution import classify
from agents.execution.assembly import Assembly, Delta
from agents.execution.frames import forget_frames
from agents.execution.outcome import Failed, Outcome, Succeeded, Trouble
from agents.execution.providers import Chunks
from agents.execution.sse import Event, Events

OnDelta = Callable[[Delta], Awaitable[None] | None]
# After the finish reason only usage is awaited: it comes at once or never.
GRACE_S = 2.0
# After the terminator only the end of HTTP is awaited, so that the connection can be used again.
DRAIN_S = 0.02


@dataclass(slots=True)
class Stream:
    """A stream under way. Loop times: `first` and `end` are the deployment's limits, `deadline` the caller's."""

    response: httpx.Response
    headers: dict[str, str]
    started: float
    first: float
    end: float
    deadline: float
    max_bytes: int
    choices: int
    between_s: float
    on_delta: OnDelta
    whole: Assembly = field(default_factory=Assembly)
    first_token_ms: float = 0.0
    delivered: bool = False
    _size: int = 0

    async def read(self, chunks: Chunks) -> Outcome:
        """To its end. Raises what on_delta raises, and CancelledError."""
        assert isinstance(self.response.stream, httpx.AsyncByteStream)
        pieces = aiter(self.response.stream)
        if self.headers.get("content-encoding", "identity") != "identity":
            return classify.unreadable(200, self.headers, latency_ms=self._ms())
        events = Events()
        while True:
            given = await self._next(pieces)
            if isinstance(given, Failed):
                return self._succeeded() if self._complete() else self._failed(given)
            self._size += len(given)
            if self._size > self.max_bytes:
                return self._failed(classify.unreadable(200, self.headers, latency_ms=self._ms()))
            for event in events.feed(given) if given else events.close():
                over = await self._take(event, chunks, last=not given)
                if isinstance(over, Failed):
                    return self._succeeded() if self._complete() else over
                if over:
                    await _drain(pieces)
                    return self._ended()
            if not given:
                return self._ended()

    async def deliver_whole(self, answer: Succeeded) -> Succeeded:
        """Give on an answer that came at once, as one chunk."""
        done = self.on_delta(_as_chunk(answer.completion))
        if done is not None:
            await done
        return replace(answer, first_token_ms=answer.latency_ms)

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | Failed:
        """The next bytes, b"" at a clean end."""
        now = asyncio.get_running_loop().time()
        wait_s = min(self.between_s, GRACE_S) if self._complete() else self.between_s
        # Where nothing has come yet, the first byte may take its own time.
        silence = now + wait_s if self._size else self.first
        try:
            async with asyncio.timeout_at(min(silence, self.end, self.deadline)) as limit:
                async for piece in pieces:
                    if piece:
                        return piece
                return b""
        except Exception as error:
            forget_frames(error)
            if not (isinstance(error, TimeoutError) and limit.expired()):
                # After sending and a 200 the rest of the answer is missing, whatever broke.
                return classify.interrupted(200, self.headers, latency_ms=self._ms())
        if self._size and silence <= min(self.end, self.deadline):
            return classify.stalled(200, self.headers, latency_ms=self._ms())
        own = min(silence, self.end) <= self.deadline
        return classify.late(200, self.headers, own=own, latency_ms=self._ms())

    async def _take(self, event: Event, chunks: Chunks, *, last: bool) -> bool | Failed:
        """Give on what an event says. True: it is the terminator."""
        try:
            read = chunks.read(event)
        except Exception:
            return self._failed(classify.unreadable(200, self.headers, latency_ms=self._ms()))
        if read is None:
            return True
        if isinstance(read, Trouble):
            if last and not read.readable:
                # A torn event before the end says no more than that the stream was torn.
                return self._failed(classify.interrupted(200, self.headers, latency_ms=self._ms()))
            told = classify.answered(200, self.headers, read, now=time.time(), latency_ms=self._ms())
            return self._failed(told)
        for delta in read:
            self.whole.add(delta)
            if self.whole.began and not self.first_token_ms:
                self.first_token_ms = self._ms()
            if not delta.get("choices"):
                continue
            self.delivered = True
            done = self.on_delta(delta)
            if done is not None:
                await done
        return False

    def _complete(self) -> bool:
        return self.whole.finished(self.choices)

    def _ended(self) -> Outcome:
        if self._complete():
            return self._succeeded()
        return self._failed(classify.interrupted(200, self.headers, latency_ms=self._ms()))

    def _failed(self, failed: Failed) -> Failed:
        return classify.begun(failed) if self.delivered else failed

    def _succeeded(self) -> Outcome:
        answer, latency_ms = self.whole.answer(), self._ms()
        if answer.empty:
            return classify.empty(200, self.headers, answer.usage, latency_ms=latency_ms)
        return Succeeded(
            completion=answer.completion,
            usage=answer.usage,
            finish_reason=answer.finish_reason,
            http_status=200,
            provider_request_id=classify.request_id(self.headers),
            latency_ms=latency_ms,
            # Cut or filtered before its first token: the end is the first that came.
            first_token_ms=self.first_token_ms or latency_ms,
            model=answer.model,
        )

    def _ms(self) -> float:
        return (asyncio.get_running_loop().time() - self.started) * 1_000


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(DRAIN_S):
            async for _ in pieces:
                pass
    except Exception:
        # The answer is whole; only the connection is lost.
        return


def _as_chunk(completion: Delta) -> Delta:
    choices = []
    for choice in completion.get("choices", ()):
        delta = dict(choice["message"])
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls) if isinstance(call, dict)]
        end = {"delta": delta, "finish_reason": choice.get("finish_reason")}
        choices.append({"index": choice.get("index", 0), **end})
    kept = {name: value for name, value in completion.items() if name not in ("choices", "usage")}
    return {**kept, "object": "chat.completion.chunk", "choices": choices}
