"""Which statements a reader may run: decided on the engine's own syntax tree, before anything runs.

The tree is `EXPLAIN AST` of the statement with its parameters filled in, one node a line, indented by depth.
Whatever the tree does not show (names in SETTINGS, functions inside APPLY) is refused rather than guessed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.sql.engine import DATABASE
from infra.sql.errors import ACCESS_DENIED, READONLY, SYNTAX_ERROR, UNKNOWN_FORMAT, SqlError, from_engine
from infra.sql.roles import ANALYST, VIEWS, Role, refuse_view

SYSTEM_TABLES = frozenset({"tables", "columns", "databases", "functions", "formats", "settings", "one", "numbers"})
# How the tables stand: parts, merges and mutations, and what the process uses.
ADMIN_TABLES = SYSTEM_TABLES | frozenset(
    {"parts", "parts_columns", "detached_parts", "merges", "mutations", "disks", "processes", "metrics", "asynchronous_metrics",
     "events", "errors", "views", "data_skipping_indices", "row_policies", "build_options"}
)  # fmt: skip
# Not tables, columns or parts: they count rows of every tenant.
TENANT_TABLES = frozenset({"functions", "formats", "settings", "one", "numbers"})
TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "generateseries", "generate_series", "values", "null", "view"}
)
# They read files, wait, call out, or reach tables and dictionaries by a name in a string.
_DENIED_FUNCTION = re.compile(
    r"file|getmacro|sleep\w*|filesystem\w*|dict[a-z]\w*|joinget\w*|hascolumnintable|getserversetting|showcertificate"
    r"|ai[a-z]+|chdb|addressto\w*|demangle|executable\w*|python\w*|url|s3|remote\w*|catboost\w*|naivebayesclassifier\w*"
    r"|generateserialid|hypothetical\w*|mergetreepartinfo|detect(language|charset|programming|tonality)\w*|lemmatize|synonyms"
    r"|region\w*|__\w+",
    re.IGNORECASE,
)
_SYSTEM = {"admin": ADMIN_TABLES, "analyst": SYSTEM_TABLES, "tenant": TENANT_TABLES}
_ROOTS = frozenset(
    {"SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "Explain", "DescribeQuery", "ShowTables",
     "ShowColumns", "ShowFunctions", "ShowCreateTableQuery", "ShowCreateViewQuery", "ExistsTableQuery", "ExistsViewQuery"}
)  # fmt: skip
_EXPLAINS = frozenset({"", "AST", "SYNTAX", "QUERY TREE", "PIPELINE", "ESTIMATE", "PLAN"})
# The others count granules.
_TENANT_EXPLAINS = frozenset({"AST", "SYNTAX"})
_NAMED = frozenset({"ShowCreateTableQuery", "ShowCreateViewQuery", "ExistsTableQuery", "ExistsViewQuery"})
_FORMATS = re.compile(
    r"TSV\w*|TabSeparated\w*|Raw\w*|CSV\w*|JSON\w*|NDJSON|Pretty\w*|Vertical|Values|XML|Markdown|MD|Native|RowBinary\w*"
    r"|Null|Arrow|ArrowStream|Parquet|ORC|Avro|MsgPack|BSONEachRow|LineAsString\w*|TSKV|SQLInsert|Npy|CustomSeparated\w*"
)
_PLAIN_NAME = re.compile(r"(?:(\w+)\.)?(\w+)", re.ASCII)
_NODE = re.compile(r"^( *)([A-Z]\w*)(?: (.*?))??(?: \(alias .*?\))?(?: \(children (\d+)\))?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Node:
    """One line of the tree: `depth` 0 is the statement, `text` what stands after the kind ("turnout.events")."""

    depth: int
    kind: str
    text: str
    parent: "Node | None" = None


def check_format(name: str) -> str:
    """The name, if readers may have it; formats that read templates or schemas from files are left out."""
    if _FORMATS.fullmatch(name) is None:
        raise SqlError(UNKNOWN_FORMAT, f"Format {name[:60]} is not offered here: use JSONEachRow, CSV or Native")
    return name


def check(handle: Any, sql: str, params: Mapping[str, str], role: Role = ANALYST) -> str | None:
    """Let the statement pass, or raise `SqlError`; returns the format it names, if any."""
    report = handle._conn.classify_query(sql)
    kind = report["query_class"].name
    if report["statement_count"] > 1:
        raise SqlError(SYNTAX_ERROR, "Multi-statements are not allowed: send one statement at a time")
    if kind not in ("READ_ONLY", "UNKNOWN"):
        raise SqlError(
            READONLY, "Cannot execute query in readonly mode: this door only answers SELECT, SHOW, DESCRIBE and EXPLAIN"
        )
    try:
        # An UNKNOWN statement does not parse: the engine says where.
        tree = handle.query(f"EXPLAIN AST {sql}", "TSVRaw", params=dict(params)).bytes().decode()
    except RuntimeError as error:
        raise from_engine(error) from None
    if kind != "READ_ONLY" or report["statement_count"] != 1:
        raise SqlError(READONLY, "Cannot execute query in readonly mode: the statement could not be classified")
    nodes = parse_tree(tree)
    databases: frozenset[str] = frozenset()
    if any(node.kind == "Identifier" and "." in node.text for node in nodes):
        found = handle.query("SELECT name FROM system.databases", "TSVRaw").bytes().decode()
        databases = frozenset(found.split())
    return check_tree(nodes, databases, role)


def parse_tree(tree: str) -> list[Node]:
    """Nodes in order; `SqlError` for a text whose depths and numbers of children do not agree.

    A name with line breaks in it can write lines of its own. Agreement keeps those below the name's own node,
    so that no node of the statement can be given a false parent.
    """
    nodes: list[Node] = []
    open_nodes: list[list[int]] = []  # [index, children still to come] from the statement down.
    for line in tree.split("\n"):
        if not line:
            continue
        found = _NODE.match(line)
        while open_nodes and not open_nodes[-1][1]:
            open_nodes.pop()
        if found is None or len(found[1]) != len(open_nodes) or bool(open_nodes) != bool(nodes):
            raise _denied("names with line breaks or unusual characters")
        parent = None
        if open_nodes:
            open_nodes[-1][1] -= 1
            parent = nodes[open_nodes[-1][0]]
        open_nodes.append([len(nodes), int(found[4] or 0)])
        nodes.append(Node(len(found[1]), found[2], found[3] or "", parent))
    if any(left for _, left in open_nodes):
        raise _denied("names with line breaks or unusual characters")
    return nodes


def check_tree(nodes: list[Node], databases: frozenset[str], role: Role = ANALYST) -> str | None:
    """Raise `SqlError` for anything that is not on the lists above; returns its format. `databases`: all there are."""
    if not nodes or nodes[0].kind not in _ROOTS:
        raise SqlError(READONLY, "Cannot execute query in readonly mode: this kind of statement is not on the list")
    root = nodes[0]
    if root.kind in _NAMED:
        # "ShowCreateTableQuery turnout events" or, without a database, "... events".
        _check_table(".".join(root.text.split()), role)
    for index, node in enumerate(nodes):
        match node.kind:
            case "Explain":
                allowed = _TENANT_EXPLAINS if role.kind == "tenant" else _EXPLAINS
                if node.text.removeprefix("EXPLAIN").strip() not in allowed:
                    raise _denied("this kind of EXPLAIN")
            case "Set":
                if node.parent is not nodes[index - 1] or node.parent.kind != "Explain":
                    raise SqlError(READONLY, "A SETTINGS clause is not accepted here: send settings as URL parameters")
            case "Function":
                _check_function(node)
            case "TableIdentifier":
                _check_table(node.text, role)
            case "Identifier":
                _check_identifier(node.text, databases, role)
            case "ColumnsApplyTransformer":
                raise _denied("APPLY: name the function for each column")
            case "Literal" if node.depth == 1:
                raise _denied("INTO OUTFILE")
            case other if other.endswith("Query") and other not in _ROOTS | {"TablesInSelectQuery"}:
                raise _denied(other)
    return _format(nodes)


def _check_function(node: Node) -> None:
    name = node.text.split(" ")[0].split("(")[0]
    if node.parent is not None and node.parent.kind == "TableExpression":
        if name.lower() not in TABLE_FUNCTIONS:
            raise _denied(f"table function {name[:60]}")
    elif _DENIED_FUNCTION.fullmatch(name):
        raise _denied(f"function {name[:60]}")


def _check_table(name: str, role: Role) -> None:
    found = _PLAIN_NAME.fullmatch(name)
    if found is None:
        raise _denied("a table name with unusual characters")
    database = found[1] or DATABASE
    seen = _SYSTEM[role.kind]
    if database == DATABASE and role.kind == "tenant" and found[2] not in VIEWS:
        raise refuse_view(role, found[2])
    if database == DATABASE or (database == "system" and found[2] in seen):
        return
    raise _denied(f"{database}.{found[2]}: read the views of {DATABASE}, or system.{', system.'.join(sorted(seen))}")


def _check_identifier(name: str, databases: frozenset[str], role: Role) -> None:
    """An identifier is a column, but after IN (or by an alias) it may be a table, and in arrayMap and its like a function."""
    if _DENIED_FUNCTION.fullmatch(name):
        raise _denied(f"the name {name[:60]} in an expression: qualify it with its table")
    database, _, rest = name.partition(".")
    if rest and database in databases:
        _check_table(".".join(name.split(".")[:2]), role)


def _format(nodes: list[Node]) -> str | None:
    named = [node.text for node in nodes if node.depth == 1 and node.kind == "Identifier"]
    if not named:
        return None
    if nodes[0].kind in ("SelectWithUnionQuery", "Explain", "DescribeQuery"):
        return check_format(named[-1])
    return named[-1] if len(named) > len(nodes[0].text.split()) and _FORMATS.fullmatch(named[-1]) else None


def _denied(what: str) -> SqlError:
    return SqlError(ACCESS_DENIED, f"Not allowed for readers: {what}")
