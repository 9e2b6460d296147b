"""`turnout feedback`: says how good an answer was, so that decisions learn which deployment does which task well."""

from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import Config, run, say, settings_of

if TYPE_CHECKING:
    from streams.settings import Settings


def feedback(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="Whose answer is scored.")],
    score: Annotated[float, typer.Argument(metavar="SCORE", min=0, max=1, help="From 0 (useless) to 1 (right).")],
    given_by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who scores: a person or a grader.")] = "",
    topic: Annotated[
        str | None, typer.Option(metavar="NAME", help="NAME of llm.requests.NAME, or the full name.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 10.0,
    config: Config = None,
) -> None:
    """Score the answer of a request, while the responses topic keeps it.

    The first score that NAME gives to a request counts. Where the answer is gone, publish a record on llm.feedback
    yourself, with the request id as its key: a JSON object of request_id, score, deployment and task as the answer's
    `routing` says them; tenant, given_by and source (topic-partition-offset of the request) are optional. A record that
    cannot be read becomes a dead letter (`turnout dead-letters list`) and changes nothing.

    \b
    Example:
      turnout feedback r-1 0.9 --by anna
      {"request_id": "r-1", "score": 0.9, "deployment": "openai-mini-eu", "task": "code"}
    """
    say(run(_feedback(settings_of(config), request_id, score, given_by, topic, timeout)))


async def _feedback(
    settings: "Settings", request_id: str, score: float, given_by: str, topic: str | None, timeout: float
) -> str:
    from schemas.feedback import feedback_document
    from streams.client import TurnoutClient

    kafka = settings.kafka
    async with TurnoutClient(kafka.access, kafka.topic_prefix) as client:
        answer = await client.answer(request_id, timeout, topic=topic)
        document = feedback_document(answer, score, given_by)
        await client.feedback(answer, score, given_by=given_by)
    return f"{document['deployment']} got {document['score']:g} for {document['task']}"
