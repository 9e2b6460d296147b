"""`turnout redecide`: every decision in the log made again from its own record, under the configuration that it names."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import typer

from infra.cli.options import AsJson, Config, codec_of, print_json, run, settings_of

if TYPE_CHECKING:
    from schemas.events import PlanStep
    from streams.settings import Settings

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision whose record gives another plan than it says."""

    event_id: str
    recorded: tuple["PlanStep", ...]
    remade: tuple["PlanStep", ...]


@dataclass
class Redecided:
    """`partial`: decisions that do not say all: more than 32 candidates, or written before version 2 of the event."""

    decisions: int = 0
    same: int = 0
    partial: int = 0
    differences: list[Difference] = field(default_factory=list)


def redecide(config: Config = None, as_json: AsJson = False) -> None:
    """Make every decision in the log again from its own record; exit 1 when a plan differs.

    \b
    Example:
      turnout redecide
    """
    found = run(redecided(settings_of(config)))
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo(
            f"{found.decisions} decisions: {found.same} made again the same, {len(found.differences)} differ, "
            f"{found.partial} not recorded whole"
        )
        for difference in found.differences[:SHOWN]:
            typer.echo(f"{difference.event_id}")
            for name, plan in (("recorded", difference.recorded), ("made again", difference.remade)):
                typer.echo(f"  {name:10} " + ", then ".join(f"{step.deployment} ({step.tier})" for step in plan))
    if found.differences:
        raise typer.Exit(1)


async def redecided(settings: "Settings") -> Redecided:
    """Reads llm.decisions to its present end. Raises OperationError when the topic does not exist."""
    from agents.routing.remake import remade
    from infra.cli.reading import read_control
    from schemas.errors import UnreadableRecord
    from schemas.events import RouteDecided
    from streams.reader import group_less, partitions_of, read_to_end

    codec, found = await codec_of(settings), Redecided()
    async with group_less(settings.kafka.access) as consumer:
        control = await read_control(consumer, settings, codec)
        partitions = await partitions_of(consumer, f"{settings.kafka.topic_prefix}decisions")
        async for record in read_to_end(consumer, partitions):
            if codec.peek(record.value) not in (RouteDecided, None):
                continue
            try:
                event = codec.decode(record.value or b"")
            except UnreadableRecord:
                continue
            if not isinstance(event, RouteDecided):
                continue
            found.decisions += 1
            plan = remade(event, control.upto(event.control_offset))
            if plan is None:
                found.partial += 1
            elif plan == event.plan:
                found.same += 1
            else:
                found.differences.append(Difference(event.event_id, event.plan, plan))
    return found
