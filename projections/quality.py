"""Quality of a deployment's answers by task, as feedback tells it: counts and sums of scores by day."""

from hashlib import blake2b

from projections.fold import LogRecord
from schemas.events import Event, FeedbackGiven
from schemas.inforce import InForce
from schemas.spans import SCORES_KEPT, SCORES_SPAN
from schemas.state import QualityState, ScoresBucket

SCALE = 1000
SEEN_KEPT = 256
"""Givers and requests remembered a deployment and partition: 256 x 16 digits are 4 KB of a snapshot at most."""
NOTHING = QualityState()
Stepped = tuple[QualityState, tuple[Event, ...]]


class QualityFold:
    """kind `quality`: deployment -> QualityState.

    A giver's first score of a request counts; another one is passed over while the last 256 of the deployment and
    partition hold the first. The key of a record is the request id, so both stand in the same partition.
    """

    kind: str = "quality"
    version: int = 1
    reads: tuple[type[Event], ...] = (FeedbackGiven,)

    def initial(self) -> QualityState:
        return NOTHING

    def subject(self, event: Event) -> str | None:
        return event.deployment if isinstance(event, FeedbackGiven) else None

    def step(self, state: QualityState, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        assert isinstance(event, FeedbackGiven)
        digest = _digest(event)
        if digest in state.seen:
            return state, ()
        day, score = record.logged_at // SCORES_SPAN, round(event.score * SCALE)
        tasks = dict(state.tasks)
        buckets = _recent(tasks.get(event.task, ()), day)
        last = ScoresBucket(day)
        if buckets and buckets[-1].day == day:
            buckets, last = buckets[:-1], buckets[-1]
        added = ScoresBucket(day, last.count + 1, last.total + score, last.squares + score * score)
        tasks[event.task] = (*buckets, added)
        return QualityState(tasks, (*state.seen, digest)[-SEEN_KEPT:]), ()

    def tick(self, state: QualityState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        # llm.feedback has no ticks; whoever reads leaves out the days that are over.
        day = record.logged_at // SCORES_SPAN
        if all(buckets[0].day > day - SCORES_KEPT for buckets in state.tasks.values()):
            return state, ()
        left = {task: _recent(buckets, day) for task, buckets in state.tasks.items()}
        return QualityState({task: buckets for task, buckets in left.items() if buckets}, state.seen), ()


def _recent(buckets: tuple[ScoresBucket, ...], day: int) -> tuple[ScoresBucket, ...]:
    return tuple(bucket for bucket in buckets if bucket.day > day - SCORES_KEPT)


def _digest(event: FeedbackGiven) -> int:
    """48 bits of who scored which request: the same in every process, and exact as a number in JSON."""
    said = f"{event.tenant}\n{event.request_id}\n{event.given_by}".encode()
    return int.from_bytes(blake2b(said, digest_size=6).digest())
