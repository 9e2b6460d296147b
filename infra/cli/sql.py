"""`turnout sql`: asks the SQL door over HTTP and prints a table, or any format of ClickHouse."""

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import Config, print_table, settings_of

if TYPE_CHECKING:
    import httpx

    from streams.settings import Settings

TABLE_FORMAT = "JSONCompact"
_CODE = re.compile(r"^Code: \d+\. DB::Exception: ")
_TAIL = re.compile(r"\s*\([A-Z_]+\)\s*(?:\(version [^)]*\)\)?)?\s*$|\s*\(version [^)]*\)\s*$")


def sql(
    statement: Annotated[
        str | None, typer.Argument(metavar='"SELECT ..."', help="One statement; the database is turnout.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--format", help="JSON, JSONEachRow, CSVWithNames, TSV...; a table by default.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="Ask as this user of sql.users; the first admin by default."),
    ] = None,
    questions: Annotated[bool, typer.Option("--questions", help="List the named questions.")] = False,
    question: Annotated[str | None, typer.Option("--question", metavar="NAME", help="Ask a named question.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="A parameter of the question; may be given again."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild the rollups that drift names; for a folder that no sink has open.")
    ] = False,
    migrations: Annotated[
        bool, typer.Option("--migrations", help="Print the definitions, as sql.cluster has them where it is set.")
    ] = False,
    config: Config = None,
) -> None:
    """Ask the log in SQL.

    \b
    Examples:
      turnout sql "SELECT provider, sum(cost_usd) FROM tenant_costs GROUP BY provider"
      turnout sql --question latency --param hours=1
    """
    if sum((statement is not None, questions, question is not None, repair, migrations)) != 1:
        raise typer.BadParameter("give one of: a statement, --questions, --question NAME, --migrations, --repair")
    if param and question is None:
        raise typer.BadParameter("--param belongs to --question NAME")
    if questions:
        _list()
        return
    if migrations:
        from projections.clickhouse.migrate import rendered

        typer.echo(rendered(settings_of(config).sql.cluster))
        return
    if repair:
        from infra.cli.repair import repaired

        rollups = repaired(settings_of(config))
        typer.echo(f"rebuilt: {', '.join(rollups)}" if rollups else "nothing to repair: drift is empty")
        return
    parameters: dict[str, str] = {}
    if question is not None:
        statement, parameters = question_of(question, param or ())
    assert statement is not None
    answer = ask(settings_of(config), statement, output or TABLE_FORMAT, parameters, user=user)
    # The statement's own FORMAT wins.
    if output is None and answer.headers.get("X-ClickHouse-Format", TABLE_FORMAT) == TABLE_FORMAT and answer.content:
        document = answer.json()
        if document["data"]:
            print_table([column["name"] for column in document["meta"]], document["data"])
        else:
            typer.echo("(no rows)")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(answer.content)
    sys.stdout.buffer.flush()


def _list() -> None:
    from projections.clickhouse.queries import QUESTIONS

    print_table(
        ("question", "answers", "parameters"),
        [
            (name, found.title, " ".join(f"{key}={default}" for key, default in found.parameters.items()))
            for name, found in QUESTIONS.items()
        ],
    )


def question_of(name: str, given: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Statement and parameters of a named question; `given`: `key=value` each. Raises typer.BadParameter."""
    from projections.clickhouse.queries import QUESTIONS

    found = QUESTIONS.get(name)
    if found is None:
        raise typer.BadParameter(f"no question is called {name[:60]}; `turnout sql --questions` lists them")
    parameters = dict(found.parameters)
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or key not in parameters:
            takes = " and ".join(f"{known}=VALUE" for known in parameters) or "no parameter"
            raise typer.BadParameter(f"the question {name} takes {takes}, not {each[:60]}")
        parameters[key] = value
    return found.sql, parameters


def door_url(settings: "Settings") -> str:
    """Where the SQL door listens: the embedded engine's on this machine, or the server's own."""
    url = settings.sql.url
    return f"http://127.0.0.1:{settings.sql.port}" if url.startswith("chdb:") else url


def credentials_of(settings: "Settings", name: str | None) -> dict[str, str]:
    """Headers that say who asks. Raises ConfigurationError for a name that sql.users does not hold."""
    from agents.execution.credentials import Credentials
    from schemas.errors import ConfigurationError

    users = settings.sql.users
    if name is None:
        # An admin sees all that any other sees.
        found = min(users, key=lambda user: (user.role != "admin", user.role != "analyst"), default=None)
        if found is None:
            return {}
    else:
        found = next((user for user in users if user.name == name), None)
        if found is None:
            known = ", ".join(user.name for user in users) or "nobody"
            raise ConfigurationError(f"sql.users holds {known} and not {name[:60]}; name one of them with --user.")
    return {"X-ClickHouse-User": found.name, "X-ClickHouse-Key": Credentials().key(found.password)}


def ask(
    settings: "Settings",
    statement: str,
    output: str,
    parameters: dict[str, str] | None = None,
    user: str | None = None,
) -> "httpx.Response":
    """The door's answer to a user of the configuration; the first admin by default.

    Raises OperationError with ClickHouse's sentence, or that nobody answers.
    """
    import httpx

    from infra.urls import shown_url
    from schemas.errors import OperationError

    url = door_url(settings)
    credentials = credentials_of(settings, user)
    query = {"database": settings.sql.database, "default_format": output}
    query |= {f"param_{name}": value for name, value in (parameters or {}).items()}
    try:
        # Without the environment's proxies: the embedded door is on this machine.
        with httpx.Client(trust_env=False, timeout=httpx.Timeout(300.0, connect=5.0)) as client:
            answer = client.post(url, params=query, content=statement.encode(), headers=credentials)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OperationError(
            f"No SQL door answers at {shown_url(url)} ({type(error).__name__}); start it with `turnout up` or `turnout sink`, "
            "or correct sql.url."
        ) from None
    if answer.status_code >= 400:
        raise OperationError(sentence(answer.text) or f"The SQL door answered {answer.status_code}.")
    return answer


def sentence(text: str) -> str:
    """ClickHouse's error as one sentence, without its code and version."""
    line = " ".join(text.split())
    line = _CODE.sub("", line)
    previous = ""
    while previous != line:
        previous, line = line, _TAIL.sub("", line)
    return f"{line.rstrip('.')}." if line else ""
