"""Records of llm.feedback as events: the one event topic that users write, so everything is checked at this door."""

from dataclasses import fields, replace
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.catalog import Task
from schemas.codec import Codec
from schemas.errors import ConfigurationError, UnknownEvent, UnreadableRecord
from schemas.events import AssignmentStarted, Event, FeedbackGiven
from schemas.ids import DEFAULT_TENANT

LONGEST_NAME = 200
LARGEST_BYTES = 64 * 1024
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Text = Annotated[str, Field(max_length=LONGEST_NAME)]


class FeedbackDocument(BaseModel):
    """What a user publishes: `score` from 0 (useless) to 1 (right), the rest copied from the answer's `routing`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    request_id: Name
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    deployment: Name
    task: Task
    tenant: Name = DEFAULT_TENANT
    given_by: Text = ""
    source: Text = ""


def feedback_document(answer: dict[str, Any], score: float, given_by: str = "", source: str = "") -> dict[str, Any]:
    """The document for an answer of Turnout. Raises ConfigurationError for an answer or score that takes none."""
    routing = answer.get("routing")
    if not isinstance(routing, dict) or not routing.get("deployment"):
        raise ConfigurationError(
            "No deployment answered this request, so there is nothing to score; name an `ok` answer."
        )
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ConfigurationError(f"The score is {score}; give a number from 0 (useless) to 1 (right).")
    copied = {name: routing[name] for name in ("request_id", "deployment", "task", "tenant") if routing.get(name)}
    given = {"given_by": given_by, "source": source}
    return copied | {"score": float(score)} | {name: value for name, value in given.items() if value}


def read_feedback(value: bytes | None, codec: Codec, position: str, logged_at: int) -> Event:
    """The event of a record: a user's document, an encoded FeedbackGiven, or the marker of the partition's owner.

    `position`: topic-partition-offset; `logged_at`: broker time in microseconds. Raises UnreadableRecord.
    """
    if value is None or len(value) > LARGEST_BYTES:
        raise UnreadableRecord("the record is empty or larger than 64 KB; publish one JSON object")
    if value.lstrip()[:1] == b"{":
        document = _object(value)
        if "event" not in document:
            return _event(document, position, logged_at)
    try:
        event = codec.decode(value)
    except (UnknownEvent, UnreadableRecord) as error:
        raise UnreadableRecord(f"{error}; see `turnout feedback --help`") from None
    except Exception as error:
        # Bytes chosen to break a decoder must not break the partition either.
        raise UnreadableRecord(f"the record cannot be decoded ({type(error).__name__})") from None
    if isinstance(event, AssignmentStarted):
        return event
    if not isinstance(event, FeedbackGiven):
        raise UnreadableRecord(f"{type(event).__name__} is no feedback; see `turnout feedback --help`")
    known = {field.name: getattr(event, field.name) for field in fields(FeedbackGiven)}
    checked = _event({name: known[name] for name in FeedbackDocument.model_fields}, position, logged_at)
    return replace(checked, event_id=event.event_id, occurred_at=event.occurred_at, worker=event.worker)


def _object(value: bytes) -> dict[str, Any]:
    try:
        return dict(orjson.loads(value))
    except orjson.JSONDecodeError:
        raise UnreadableRecord("the record is no JSON object; see `turnout feedback --help`") from None


def _event(document: dict[str, Any], position: str, logged_at: int) -> FeedbackGiven:
    try:
        said = FeedbackDocument.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise UnreadableRecord(f"{place[:100]}: {first['msg']}; see `turnout feedback --help`") from None
    return FeedbackGiven(
        event_id=f"{position}/FeedbackGiven", occurred_at=logged_at, worker="", request_id=said.request_id,
        tenant=said.tenant, deployment=said.deployment, task=said.task, score=float(said.score),
        given_by=said.given_by, source=said.source,
    )  # fmt: skip
