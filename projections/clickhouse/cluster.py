"""The same migrations for a cluster: its name in every definition, replicated engines in every table. Pure text."""

import re

_DEFINES = re.compile(
    r"^((?:CREATE (?:OR REPLACE )?(?:DATABASE|TABLE|VIEW|MATERIALIZED VIEW)(?: IF NOT EXISTS)?"
    r"|DROP (?:TABLE|VIEW)(?: IF EXISTS)?|ALTER TABLE) [\w.]+)",
    re.MULTILINE,
)
_ENGINE = re.compile(r"\bENGINE = (\w*MergeTree)\b")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window\b")


def clustered(statement: str, cluster: str) -> str:
    """A statement of a migration as the cluster runs it; without a cluster as it stands.

    One shard: every replica holds every row, its path in Keeper is the server's `default_replica_path`. Rows that a
    migration copies (INSERT) are written once and replicated.
    """
    if not cluster:
        return statement
    quoted = cluster.replace("\\", "\\\\").replace("'", "\\'")
    statement = _DEFINES.sub(lambda found: f"{found[1]} ON CLUSTER '{quoted}'", statement, count=1)
    return _WINDOW.sub("replicated_deduplication_window", _ENGINE.sub(r"ENGINE = Replicated\1", statement))
