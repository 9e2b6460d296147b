"""What is learned equals the log counted by hand, is bounded, and merges over partitions in any order."""

from collections import Counter

from fold_events import START, feedback
from fold_logs import Log, attempts_logs, feedback_logs
from fold_world import projection
from hypothesis import given
from hypothesis import strategies as st

from projections.fold import LogRecord
from projections.partition import PartitionProjection
from projections.quality import SEEN_KEPT
from schemas.events import AttemptFailed, AttemptSucceeded, FeedbackGiven
from schemas.histogram import coarse, coarse_top
from schemas.merge import merge_quality
from schemas.spans import CALLS_KEPT, CALLS_SPAN, LENGTHS_KEPT, LENGTHS_SPAN, PACE_KEPT, SCORES_KEPT, SCORES_SPAN
from schemas.state import LearnedState, QualityState


def run(log: Log, partition: int = 0) -> PartitionProjection:
    projected = projection(log.kind, partition)
    for record in log.records:
        projected.apply(record)
    return projected


@given(attempts_logs())
def test_calls_and_lengths_are_those_of_the_log(log: Log) -> None:
    projected = run(log)
    for subject in projected.subjects("learned"):
        state: LearnedState = projected.snapshot("learned", subject)
        # Since the deployment last began to serve its model; a record logged earlier counts as logged then.
        since: list[tuple[int, AttemptSucceeded | AttemptFailed]] = []
        clock, model = 0, ""
        for record in log.records:
            clock, event = max(clock, record.logged_at), record.event
            if not isinstance(event, (AttemptSucceeded, AttemptFailed)) or event.deployment != subject:
                continue
            if isinstance(event, AttemptFailed) and event.failure == "rate_limited":
                continue
            if event.model != model:
                since, model = [], event.model
            since.append((clock, event))
        assert state.model == model
        for task, buckets in state.calls.items():
            for bucket in buckets:
                here = [e for at, e in since if e.task == task and at // CALLS_SPAN == bucket.span]
                good = [e for e in here if isinstance(e, AttemptSucceeded)]
                assert (bucket.succeeded, bucket.failed) == (len(good), len(here) - len(good))
                assert bucket.tokens_out == sum(e.tokens_out for e in good)
                assert bucket.latency_us == sum(round(e.latency_ms * 1000) for e in good)
            spans = [bucket.span for bucket in buckets]
            assert spans == sorted(set(spans))
            assert spans[-1] - spans[0] < CALLS_KEPT
        for task, lengths in state.lengths.items():
            for one in lengths:
                told = [
                    e.tokens_out for at, e in since
                    if isinstance(e, AttemptSucceeded) and e.task == task and at // LENGTHS_SPAN == one.span
                ]  # fmt: skip
                assert one.lengths == Counter(coarse(tokens) for tokens in told if tokens)
                assert one.tokens_out == sum(told)
            assert lengths[-1].span - lengths[0].span < LENGTHS_KEPT
        assert len(state.paces) <= PACE_KEPT


@given(feedback_logs())
def test_the_first_score_of_a_giver_counts_once(log: Log) -> None:
    projected = run(log)
    for subject in projected.subjects("quality"):
        state: QualityState = projected.snapshot("quality", subject)
        first: dict[tuple[str, str], tuple[int, FeedbackGiven]] = {}
        clock = 0
        for record in log.records:
            clock = max(clock, record.logged_at)
            if isinstance(record.event, FeedbackGiven) and record.event.deployment == subject:
                first.setdefault((record.event.request_id, record.event.given_by), (clock, record.event))
        for task, buckets in state.tasks.items():
            for bucket in buckets:
                scores = [
                    round(event.score * 1000) for at, event in first.values()
                    if event.task == task and at // SCORES_SPAN == bucket.day
                ]  # fmt: skip
                assert (bucket.count, bucket.total) == (len(scores), sum(scores))
                assert bucket.squares == sum(score * score for score in scores)
            assert buckets[-1].day - buckets[0].day < SCORES_KEPT
        assert len(state.seen) == len(set(state.seen)) == len(first)


def test_memory_of_givers_is_bounded() -> None:
    projected = projection("feedback")
    for offset in range(3 * SEEN_KEPT):
        projected.apply(LogRecord("llm.feedback", 0, offset, START, feedback(request_id=f"r{offset}")))
    state = projected.snapshot("quality", "d1")
    assert len(state.seen) == SEEN_KEPT
    assert state.tasks["code"][0].count == 3 * SEEN_KEPT


@given(feedback_logs(), feedback_logs(), feedback_logs())
def test_quality_merges_in_any_order(one: Log, two: Log, three: Log) -> None:
    parts = [run(log) for log in (one, two, three)]
    a, b, c = (merge_quality(each.snapshot("quality", s) for s in each.subjects("quality")) for each in parts)
    assert merge_quality([a, b]) == merge_quality([b, a])
    assert merge_quality([merge_quality([a, b]), c]) == merge_quality([a, merge_quality([b, c])])
    assert merge_quality([a, QualityState()]) == a


@given(st.integers(1, 2_000_000))
def test_a_length_lies_below_the_top_of_its_bucket_and_above_the_one_before(tokens: int) -> None:
    index = coarse(tokens)
    assert coarse_top(index - 1) <= tokens < coarse_top(index) <= 1.25 * tokens + 1
