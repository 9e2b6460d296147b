"""Applies the numbered SQL files in `migrations/` that a database has not seen."""

from importlib import resources

from clickhouse_connect.driver.client import Client

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


def migrate(client: Client) -> list[str]:
    """Create or upgrade the database `turnout`; the names of the files applied now.

    Every statement may run twice, so a migration that was cut off is simply applied again.
    """
    client.command("CREATE DATABASE IF NOT EXISTS turnout")
    client.command(JOURNAL)
    seen = {str(row[0]) for row in client.query("SELECT name FROM turnout.migrations").result_rows}
    applied = []
    for name, sql in migrations().items():
        if name in seen:
            continue
        for statement in statements(sql):
            client.command(statement)
        client.insert("turnout.migrations", [[name]], column_names=["name"])
        applied.append(name)
    return applied
