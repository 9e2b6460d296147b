"""`turnout send`: publishes chat requests from a file or stdin, and waits for their answers where asked."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.bodies import read_bodies
from infra.cli.options import Config, print_json, run, say, settings_of

if TYPE_CHECKING:
    from streams.client import TurnoutClient
    from streams.settings import Settings


def send(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A JSON body or JSON Lines; - is stdin.")] = "-",
    stream: Annotated[bool, typer.Option("--stream", help="Stream, and print the chunks as JSON lines.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Print the final answers; exit 1 if one is an error.")] = False,
    key: Annotated[str | None, typer.Option(help="The record's key; the request id by default.")] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="NAME", help="NAME of llm.requests.NAME, or the full name.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 120.0,
    config: Config = None,
) -> None:
    """Publish chat requests and print their ids, or wait for their final answers.

    \b
    Example:
      echo '{"messages": [{"role": "user", "content": "Hello"}]}' | turnout send --wait
    """
    settings = settings_of(config)
    bodies = read_bodies(file)
    if not run(_send(settings, bodies, stream, wait, key, topic, timeout)):
        raise typer.Exit(1)


async def _send(
    settings: "Settings", bodies: list[dict[str, Any]], stream: bool, wait: bool, key: str | None, topic: str | None,
    timeout: float,
) -> bool:  # fmt: skip
    """Whether every awaited answer was ok."""
    from streams.client import TurnoutClient

    kafka = settings.kafka
    async with TurnoutClient(kafka.access, kafka.topic_prefix) as client:
        if stream:
            fine = True
            for body in bodies:
                fine &= await _stream(client, body, wait, key, topic, timeout)
            return fine
        ids = [await client.send(body, key=key, topic=topic) for body in bodies]
        for request_id in ids:
            if wait:
                # stdout holds answers alone, which carry the id.
                say(f"sent {request_id}")
            else:
                typer.echo(request_id)
        if not wait:
            return True
        answers = [asyncio.create_task(client.answer(request_id, timeout, topic=topic)) for request_id in ids]
        try:
            return await _print_answers(answers)
        finally:
            for answer in answers:
                answer.cancel()
            await asyncio.gather(*answers, return_exceptions=True)


async def _print_answers(answers: list["asyncio.Task[dict[str, Any]]"]) -> bool:
    """In the order of the requests; one that is late does not hide the others."""
    from schemas.errors import OperationError

    fine = True
    for answer in answers:
        try:
            document = await answer
        except OperationError as late:
            say(str(late))
            fine = False
            continue
        print_json(document)
        fine &= "error" not in document
    return fine


async def _stream(
    client: "TurnoutClient", body: dict[str, Any], wait: bool, key: str | None, topic: str | None, timeout: float
) -> bool:
    import uuid

    routing = body.get("routing")
    given = routing.get("request_id") if isinstance(routing, dict) else None
    request_id = str(given or f"r-{uuid.uuid4().hex}")
    say(f"sent {request_id}")
    fine, from_answer = True, False
    async for chunk in client.stream(body, timeout_s=timeout, key=key, request_id=request_id, topic=topic):
        if chunk.restart:
            say("the stream begins anew: drop the text above")
        print_json(chunk.body)
        fine &= "error" not in chunk.body
        from_answer = chunk.last and "message" in next(iter(chunk.body.get("choices") or ()), {})
    if wait and fine and not from_answer:
        document = await client.answer(request_id, timeout, topic=topic)
        print_json(document)
        fine = "error" not in document
    return fine
