"""Feedback: what somebody thought of an answer."""

from dataclasses import dataclass

from schemas.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackGiven(Event):
    """`score`: 0 to 1. `deployment` and `task` are those of the answer. `given_by`: a person or a grader, may be empty.

    `source`: topic-partition-offset of the request, empty where the giver did not know it.
    """

    request_id: str
    tenant: str
    deployment: str
    task: str
    score: float
    given_by: str
    source: str
