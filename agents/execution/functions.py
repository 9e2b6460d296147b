"""The tools of an OpenAI body, and which of them the model is to call. Total: what cannot be read is named."""

from dataclasses import dataclass
from typing import Any

from agents.execution.body import mapping


@dataclass(frozen=True, slots=True)
class Function:
    """A function the model may call. `cache`: an Anthropic `cache_control`."""

    name: str
    description: str | None
    schema: dict[str, Any] | None
    strict: bool
    cache: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Functions:
    """`choice`: auto | none | required, or function with its name in `only`. `beyond`: names of what is not common."""

    given: tuple[Function, ...]
    choice: str
    only: str
    parallel: bool
    beyond: tuple[str, ...]


def read_functions(body: dict[str, Any]) -> Functions:
    """The `tools`, `tool_choice` and `parallel_tool_calls` of a body."""
    beyond: list[str] = []
    given: list[Function] = []
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        beyond.append("tools")
    for tool in tools if isinstance(tools, list) else ():
        function = mapping(mapping(tool).get("function"))
        name, description, schema = function.get("name"), function.get("description"), function.get("parameters")
        readable = isinstance(description, str | None) and isinstance(schema, dict | None)
        if mapping(tool).get("type", "function") != "function" or not isinstance(name, str) or not readable:
            beyond.append("tools")
            continue
        cache = tool.get("cache_control")
        strict = function.get("strict") is True
        given.append(Function(name, description, schema, strict, cache if isinstance(cache, dict) else None))
    choice, only = body.get("tool_choice"), ""
    if isinstance(choice, dict) and choice.get("type") == "function":
        named = mapping(choice.get("function")).get("name")
        choice, only = ("function", named) if isinstance(named, str) else (choice, "")
    if choice is None:
        choice = "auto"
    if choice not in ("auto", "none", "required", "function"):
        beyond.append("tool_choice")
        choice = "auto"
    if choice in ("required", "function") and not given and not beyond:
        # A call is demanded that nothing can answer: free text would be another answer.
        beyond.append("tool_choice")
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        beyond.append("parallel_tool_calls")
    return Functions(tuple(given), str(choice), only, parallel is not False, tuple(beyond))


@dataclass(frozen=True, slots=True)
class Shape:
    """What the answer must look like: `kind` text | json_object | json_schema | "" where it cannot be read."""

    kind: str
    schema: dict[str, Any] | None = None


def read_shape(body: dict[str, Any]) -> Shape:
    """The `response_format` of a body."""
    given = body.get("response_format")
    if given is None:
        return Shape("text")
    kind = mapping(given).get("type")
    if kind in ("text", "json_object"):
        return Shape(str(kind))
    named = mapping(mapping(given).get("json_schema"))
    schema, description = named.get("schema"), named.get("description")
    if kind != "json_schema" or not isinstance(schema, dict):
        return Shape("")
    # Elsewhere a schema has no name and is always kept strictly; what it is for stands in itself.
    told = {"description": description} if isinstance(description, str) and description else {}
    return Shape("json_schema", told | schema)
