"""What may stand in llm.feedback, read as documentation: a document by hand, an event, the owner's marker, nothing else."""

from typing import Any

import orjson
import pytest
from fold_events import feedback, succeeded, ticked

from schemas.codec import Codec
from schemas.errors import ConfigurationError, UnreadableRecord
from schemas.events import AssignmentStarted, FeedbackGiven
from schemas.feedback import feedback_document, read_feedback

GIVEN = {"request_id": "r-1", "score": 0.9, "deployment": "openai-mini-eu", "task": "code"}
ANSWER = {"model": "m", "routing": {
    "request_id": "r-1", "tenant": "acme", "status": "ok", "deployment": "openai-mini-eu", "task": "code",
}}  # fmt: skip


def read(value: Any) -> Any:
    raw = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
    return read_feedback(raw, Codec(), "llm.feedback-0-7", 1_790_000_000_000_000)


def test_a_document_by_hand_is_an_event_that_names_its_place() -> None:
    event = read(GIVEN)
    assert event == FeedbackGiven(
        event_id="llm.feedback-0-7/FeedbackGiven", occurred_at=1_790_000_000_000_000, worker="", request_id="r-1",
        tenant="default", deployment="openai-mini-eu", task="code", score=0.9, given_by="", source="",
    )  # fmt: skip


@pytest.mark.parametrize("codec", [Codec("avro"), Codec("json")])
def test_an_event_of_another_program_is_read_too(codec: Codec) -> None:
    assert read(codec.encode(feedback(score=0.25))) == feedback(score=0.25)


def test_the_document_of_an_answer_copies_its_routing() -> None:
    document = feedback_document(ANSWER, 1, given_by="anna")
    assert document == GIVEN | {"score": 1.0, "tenant": "acme", "given_by": "anna"}
    assert read(document).given_by == "anna"


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), True, "good"])
def test_a_score_outside_the_scale_is_refused_before_it_is_published(score: Any) -> None:
    with pytest.raises(ConfigurationError, match="from 0"):
        feedback_document(ANSWER, score)


def test_an_error_answer_takes_no_feedback() -> None:
    with pytest.raises(ConfigurationError, match="nothing to score"):
        feedback_document({"error": {}, "routing": {"request_id": "r-1", "status": "error"}}, 0.5)


def test_the_owner_marks_its_partition() -> None:
    marker = AssignmentStarted(
        event_id="e", occurred_at=1, worker="w", role="projector", topic="t", partition=0, member="m", generation=1
    )
    assert read(Codec().encode(marker)) == marker


@pytest.mark.parametrize("value", [
    None, b"", b"not json", b"[1]", b"{", b"\xc3\x01 damaged bytes", b"\x00\x00", b"{" + b" " * 100_000,
    GIVEN | {"score": 2}, GIVEN | {"score": "1"}, GIVEN | {"score": True}, GIVEN | {"task": "poetry"},
    GIVEN | {"deployment": ""}, GIVEN | {"deployment": "d" * 201}, GIVEN | {"colour": "red"}, {"score": 1},
    Codec().encode(succeeded()), Codec().encode(ticked()), Codec().encode(feedback(score=7.0)),
    Codec().encode(feedback(task="poetry")),
])  # fmt: skip
def test_anything_else_is_refused_with_a_reason(value: Any) -> None:
    with pytest.raises(UnreadableRecord) as caught:
        read(value)
    assert len(str(caught.value)) < 300
