"""The log in ClickHouse: migrations, rows, the writer's intent journal, and the queries the command line asks."""
