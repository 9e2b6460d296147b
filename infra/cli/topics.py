"""`turnout topics`: creates the topics and records their number of partitions; lists them."""

from typing import TYPE_CHECKING, Any

import typer

from infra.cli.options import AsJson, Config, codec_of, print_json, print_table, run, settings_of

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

    from streams.settings import Settings

app = typer.Typer(
    help="Create or list the topics.\n\n\b\nExample:\n  turnout topics create",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip
PURPOSE = {
    "requests": "chat requests, published by users",
    "responses": "final answers, read by users",
    "chunks": "pieces of streamed answers, read by users",
    "decisions": "the life of a request: accepted, decided, completed",
    "attempts": "calls to deployments, and probes",
    "costs": "money reserved and incurred",
    "transitions": "circuits, budgets, SLA and alerts as they change",
    "state": "snapshots of what the folds know",
    "control": "the configuration in force and commands: the audit log",
    "feedback": "scores of answers",
    "dead-letters": "where unreadable requests stand",
}
HOUR_MS = 3_600_000


@app.command("create")
def create(config: Config = None) -> None:
    """Create the missing topics and record their number of partitions in the control log.

    \b
    Example:
      turnout topics create --config turnout.yaml
    """
    settings = settings_of(config)
    created, partitions = run(created_topics(settings))
    for name in created:
        typer.echo(f"created {name}")
    typer.echo(f"{len(created)} topics created; every topic has {partitions} partitions, control has one")


async def created_topics(settings: "Settings") -> tuple[list[str], int]:
    from infra.cli.reading import read_control
    from schemas.errors import ConfigurationError
    from streams.apply import publish_control, topics_event
    from streams.clock import BrokerClock
    from streams.reader import group_less
    from streams.topics import create_topics, topics_of

    kafka, topics = settings.kafka, topics_of(settings)
    codec, clock = await codec_of(settings), BrokerClock()
    created = await create_topics(topics, settings)
    async with group_less(kafka.access) as consumer:
        recorded = (await read_control(consumer, settings, codec)).current.partitions
    if recorded not in (0, kafka.partitions):
        raise ConfigurationError(
            f"{topics.name('control')} records {recorded} partitions and kafka.partitions is {kafka.partitions}; "
            f"set it to {recorded} or use a new kafka.topic_prefix"
        )
    if not recorded:
        await publish_control(settings, codec, clock, [topics_event(settings, clock.now())])
    return created, kafka.partitions


@app.command("list")
def list_topics(config: Config = None, as_json: AsJson = False) -> None:
    """List the topics of the configuration: partitions, retention, and what each is for.

    \b
    Example:
      turnout topics list
    """
    rows = run(_list(settings_of(config)))
    if as_json:
        print_json(rows, indent=True)
        return
    columns = ("name", "partitions", "retention", "purpose")
    print_table(columns, [[row[column] for column in columns] for row in rows])


async def _list(settings: "Settings") -> list[dict[str, Any]]:
    from streams.topics import admin_client, topics_of

    topics = topics_of(settings)
    admin = await admin_client(settings.kafka.access)
    try:
        existing = set(await admin.list_topics())
        names = [name for name in topics.all() if name in existing]
        described = await admin.describe_topics(names) if names else []
        partitions = {item["topic"]: len(item["partitions"]) for item in described}
        retention = await _retention(admin, names)
    finally:
        await admin.close()
    return [
        {
            "name": name, "partitions": partitions.get(name, 0), "retention": retention.get(name, "missing"),
            "purpose": PURPOSE[name.removeprefix(topics.prefix).split(".")[0]],
        }
        for name in topics.all()
    ]  # fmt: skip


async def _retention(admin: "AIOKafkaAdminClient", names: list[str]) -> dict[str, str]:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    if not names:
        return {}
    wanted = {"cleanup.policy": "", "retention.ms": ""}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in names]
    shown = {}
    for response in await admin.describe_configs(resources):
        for _, _, _, name, entries, *_ in response.resources:
            values = {entry[0]: entry[1] for entry in entries}
            shown[name] = _period(values.get("cleanup.policy") or "delete", int(values.get("retention.ms") or -1))
    return shown


def _period(cleanup: str, retention_ms: int) -> str:
    if "compact" in cleanup:
        return "compacted"
    if retention_ms < 0:
        return "for ever"
    hours = retention_ms / HOUR_MS
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
