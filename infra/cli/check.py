"""`turnout check`: reads the configuration, names every problem with its line, touches nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from infra.cli.options import Config, say

if TYPE_CHECKING:
    import yaml

    from streams.settings import Settings

# Above this a broker spends seconds on elections alone.
MANY_PARTITIONS = 4_000


def check(config: Config = None) -> None:
    """Read the configuration and name every problem with its line; nothing is contacted or changed.

    \b
    Example:
      turnout check --config turnout.yaml
    """
    from schemas.errors import ConfigurationError
    from streams.loading import load_settings, read_document, settings_file

    file = settings_file(config)
    root: yaml.Node | None = None
    settings: Settings | None = None
    problems: list[str] = []
    try:
        root = read_document(file)[1] if file else None
        settings = load_settings(file)
    except ConfigurationError as error:
        problems += error.problems
        problems += retention_problem(file, root)
    problems += missing_credentials(file, root)
    if problems:
        for problem in dict.fromkeys(problems):
            say(problem)
        raise typer.Exit(2)
    assert settings is not None
    for warning in warnings(settings):
        say(f"warning: {warning}")
    catalog, kafka = settings.catalog, settings.kafka
    typer.echo(
        f"ok: {file or 'defaults and environment'}: {_count(len(catalog.models), 'model')}, "
        f"{_count(len(catalog.deployments), 'deployment')}, {_count(len(settings.budgets), 'budget')}, "
        f"{_count(len(settings.sla), 'SLA target')}, {_count(len(settings.tenants), 'tenant')}; "
        f"topics {kafka.topic_prefix}* with {_count(kafka.partitions, 'partition')} at {kafka.bootstrap_servers}"
    )


def missing_credentials(file: Path | None, root: "yaml.Node | None") -> list[str]:
    """One sentence for each `api_key` or `proxy` of the file that leads to nothing that can be used."""
    from agents.execution.credentials import Credentials
    from schemas.errors import ConfigurationError

    credentials, found = Credentials(), []
    for value, line in (*_values(root, "api_key"), *_values(root, "proxy")):
        # Anything else is named by the settings themselves, and never shown.
        if value.startswith(("env:", "file:")):
            try:
                credentials.key(value)
            except ConfigurationError as error:
                found += [f"{file}:{line}: {problem}" for problem in error.problems]
    return found


def retention_problem(file: Path | None, root: "yaml.Node | None") -> list[str]:
    """Of a file with other mistakes, for which nothing was put together: days that are too few for its budgets."""
    from streams.consistency import too_short

    periods = [value for value, _ in _values(_child(root, "budgets"), "period")]
    for days, line in _values(_child(root, "kafka"), "event_retention_days"):
        if days.isdigit() and (said := too_short(int(days), periods)):
            return [f"{file}:{line}: kafka.event_retention_days: {said}"]
    return []


def warnings(settings: "Settings") -> list[str]:
    """What is allowed and seldom meant."""
    from agents.routing.filters import NEEDS
    from schemas.policy import covers
    from streams.topics import topics_of

    found = []
    if not settings.catalog.deployments:
        found.append("the catalog has no deployments, so every request gets an error answer; add some")
    known = {need.value for need in NEEDS}
    for model in settings.catalog.models:
        if unknown := sorted(model.capabilities - known):
            found.append(
                f"the model {model.id} has {', '.join(unknown)}, which no request needs; the capabilities that are asked for "
                f"are {', '.join(sorted(known))}"
            )
    scopes = [(f"sla.{index}", target.scope) for index, target in enumerate(settings.sla)]
    scopes += [(f"budgets.{index}", budget.scope) for index, budget in enumerate(settings.budgets)]
    providers: set[str] = {deployment.provider for deployment in settings.catalog.deployments}
    names = {"provider": providers, "deployment": set(settings.catalog.deployment_by_id)}
    for place, scope in scopes:
        kind, _, name = scope.partition(":")
        if settings.catalog.deployments and kind in names and not any(covers(name, each) for each in names[kind]):
            found.append(f"{place}.scope names the {kind} {name}, which no deployment has")
    if settings.kafka.topic_prefix[-1] not in ".-_":
        found.append(f"kafka.topic_prefix {settings.kafka.topic_prefix} ends in no separator; `llm.` is usual")
    total = settings.kafka.partitions * len(topics_of(settings).all())
    if total > MANY_PARTITIONS:
        found.append(f"all topics together have {total} partitions, more than a broker likes; lower kafka.partitions")
    return found


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _child(node: "yaml.Node | None", name: str) -> "yaml.Node | None":
    import yaml

    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == name), None)
    return None


def _values(node: "yaml.Node | None", name: str) -> Iterator[tuple[str, int]]:
    """Every scalar under a key of that name, or in a list under it, with its line from 1."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name and isinstance(value, yaml.ScalarNode):
                yield value.value, value.start_mark.line + 1
            elif key.value == name and isinstance(value, yaml.SequenceNode):
                for item in value.value:
                    if isinstance(item, yaml.ScalarNode):
                        yield item.value, item.start_mark.line + 1
            else:
                yield from _values(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _values(item, name)
