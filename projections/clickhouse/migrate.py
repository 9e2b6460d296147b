"""Applies the numbered SQL files in `migrations/` that a database has not seen."""

from importlib import resources

from clickhouse_connect.driver.client import Client

from projections.clickhouse.arrivals import arrivals
from projections.clickhouse.cluster import clustered
from schemas.errors import OperationError

DATABASE = "CREATE DATABASE IF NOT EXISTS turnout"
JOURNAL = """
CREATE TABLE IF NOT EXISTS turnout.migrations (name String, at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree ORDER BY name
"""


def migrations() -> dict[str, str]:
    """File name -> SQL, in the order of application."""
    folder = resources.files("projections.clickhouse").joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return {file.name: file.read_text() for file in files}


def statements(sql: str) -> list[str]:
    """The statements of a file: each ends with a semicolon at the end of a line."""
    return [part.strip() for part in (sql.rstrip() + "\n").split(";\n") if part.strip()]


def rendered(cluster: str = "") -> str:
    """All of it as one text that a database administrator can read, and run with `clickhouse-client --multiquery`."""
    parts = [f"{clustered(statement.strip(), cluster)};" for statement in (DATABASE, JOURNAL)]
    for name, sql in migrations().items():
        parts.append(f"-- {name}")
        parts += [f"{clustered(statement, cluster)};" for statement in statements(sql)]
        parts.append(f"INSERT INTO turnout.migrations (name) VALUES ('{name}');")
    parts += [f"{clustered(statement, cluster)};" for statement in arrivals()[1]]
    return "\n\n".join(parts)


def migrate(client: Client, cluster: str = "") -> list[str]:
    """Create or upgrade the database `turnout`, on every server of `cluster`; the names of the files applied now.

    Every statement may run twice, so a migration that was cut off is simply applied again. Raises OperationError for a
    database with migrations that this version does not have.
    """
    client.command(clustered(DATABASE, cluster))
    client.command(clustered(JOURNAL.strip(), cluster))
    seen = {str(row[0]) for row in client.query("SELECT name FROM turnout.migrations").result_rows}
    if foreign := sorted(seen - migrations().keys()):
        raise OperationError(
            f"The database turnout was made by another version of Turnout ({foreign[0]}). Drop it or name another place as"
            " sql.url: the sink fills a new one from Kafka."
        )
    applied = []
    for name, sql in migrations().items():
        if name in seen:
            continue
        for statement in statements(sql):
            client.command(clustered(statement, cluster))
        client.insert("turnout.migrations", [[name]], column_names=["name"])
        applied.append(name)
    # Not a migration: it follows the schemas of the events.
    for statement in arrivals()[1]:
        client.command(clustered(statement, cluster))
    return applied
