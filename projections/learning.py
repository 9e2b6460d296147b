"""What calls to a deployment come to, by task: successes, tokens and time; how long answers are; how fast tokens follow.

Raw counts only: prices, weights and decay belong to whoever reads them.
"""

from collections.abc import Callable
from typing import TypeVar

from projections.fold import LogRecord
from projections.histogram import add
from schemas.events import AttemptFailed, AttemptSucceeded, Event
from schemas.failures import Failure
from schemas.histogram import coarse
from schemas.inforce import InForce
from schemas.spans import (
    CALLS_KEPT,
    CALLS_SPAN,
    LENGTHS_KEPT,
    LENGTHS_SPAN,
    PACE_KEPT,
    PACE_SPAN,
)
from schemas.state import CallsBucket, LearnedState, LengthsBucket, PaceBucket

B = TypeVar("B", CallsBucket, LengthsBucket, PaceBucket)
Stepped = tuple[LearnedState, tuple[Event, ...]]
NOTHING = LearnedState()
OUTCOMES = (AttemptSucceeded, AttemptFailed)


class LearnedFold:
    """kind `learned`: deployment -> LearnedState. A deployment that serves another model than before begins anew."""

    kind: str = "learned"
    version: int = 1
    reads: tuple[type[Event], ...] = OUTCOMES

    def initial(self) -> LearnedState:
        return NOTHING

    def subject(self, event: Event) -> str | None:
        return event.deployment if isinstance(event, OUTCOMES) else None

    def step(self, state: LearnedState, record: LogRecord, inforce: InForce) -> Stepped:
        event, now = record.event, record.logged_at
        if isinstance(event, AttemptFailed):
            # A 429 cools and a caller's own mistake says nothing; an empty answer is none, though the circuit bears it.
            if not event.counts_toward_circuit and event.failure != Failure.EMPTY_COMPLETION:
                return state, ()
            state = _serving(state, event.model)
            return _with_call(state, event.task, now, _failed), ()
        assert isinstance(event, AttemptSucceeded)
        state = _serving(state, event.model)
        return _succeeded(state, event, now), ()

    def tick(self, state: LearnedState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        now = record.logged_at
        calls, lengths = now // CALLS_SPAN - CALLS_KEPT, now // LENGTHS_SPAN - LENGTHS_KEPT
        paces = now // PACE_SPAN - PACE_KEPT
        # A tick comes every five seconds and hardly ever ends a span.
        if (
            all(buckets[0].span > calls for buckets in state.calls.values())
            and all(buckets[0].span > lengths for buckets in state.lengths.values())
            and (not state.paces or state.paces[0].span > paces)
        ):
            return state, ()
        return LearnedState(
            state.model, _left(state.calls, calls), _left(state.lengths, lengths), _recent(state.paces, paces)
        ), ()


def _serving(state: LearnedState, model: str) -> LearnedState:
    return state if state.model == model else LearnedState(model)


def _succeeded(state: LearnedState, event: AttemptSucceeded, now: int) -> LearnedState:
    tokens, task, first_ms = event.tokens_out, event.task, event.first_token_ms
    latency_us = min(max(round(event.latency_ms * 1000), 0), CALLS_SPAN)

    def called(bucket: CallsBucket) -> CallsBucket:
        return CallsBucket(
            bucket.span, bucket.succeeded + 1, bucket.failed, bucket.tokens_in + event.tokens_in,
            bucket.tokens_out + tokens, bucket.latency_us + latency_us,
        )  # fmt: skip

    state = _with_call(state, task, now, called)
    # An answer whose length was not told (or that has none) says nothing about lengths.
    if tokens <= 0:
        return state
    lengths = dict(state.lengths)
    lengths[task] = _counted(
        lengths.get(task, ()), now // LENGTHS_SPAN, LENGTHS_KEPT, LengthsBucket,
        lambda bucket: LengthsBucket(bucket.span, bucket.tokens_out + tokens, _plus(bucket.lengths, coarse(tokens))),
    )  # fmt: skip
    paces = state.paces
    if first_ms > 0 and tokens > 1:
        a_token = max(event.latency_ms - first_ms, 0.0) / (tokens - 1)
        paces = _counted(
            paces, now // PACE_SPAN, PACE_KEPT, PaceBucket,
            lambda bucket: PaceBucket(bucket.span, add(bucket.token, a_token)),
        )  # fmt: skip
    return LearnedState(state.model, state.calls, lengths, paces)


def _failed(bucket: CallsBucket) -> CallsBucket:
    return CallsBucket(
        bucket.span, bucket.succeeded, bucket.failed + 1, bucket.tokens_in, bucket.tokens_out, bucket.latency_us
    )


def _with_call(state: LearnedState, task: str, now: int, change: Callable[[CallsBucket], CallsBucket]) -> LearnedState:
    calls = dict(state.calls)
    calls[task] = _counted(calls.get(task, ()), now // CALLS_SPAN, CALLS_KEPT, CallsBucket, change)
    return LearnedState(state.model, calls, state.lengths, state.paces)


def _counted(
    buckets: tuple[B, ...], span: int, kept: int, empty: Callable[[int], B], change: Callable[[B], B]
) -> tuple[B, ...]:
    """The buckets with this span's one changed, without those that left the window."""
    buckets = _recent(buckets, span - kept)
    if buckets and buckets[-1].span == span:
        return buckets[:-1] + (change(buckets[-1]),)  # noqa: RUF005 (mypy cannot type the unpacked form)
    return buckets + (change(empty(span)),)  # noqa: RUF005


def _recent(buckets: tuple[B, ...], before: int) -> tuple[B, ...]:
    """The buckets after span `before`; the same object when none is that old."""
    if not buckets or buckets[0].span > before:
        return buckets
    return tuple(bucket for bucket in buckets if bucket.span > before)


def _left(by_task: dict[str, tuple[B, ...]], before: int) -> dict[str, tuple[B, ...]]:
    """By task what is after span `before`; a task without anything left is gone."""
    left = {task: _recent(buckets, before) for task, buckets in by_task.items()}
    return {task: buckets for task, buckets in left.items() if buckets}


def _plus(counts: dict[int, int], index: int) -> dict[int, int]:
    counts = counts.copy()
    counts[index] = counts.get(index, 0) + 1
    return counts
