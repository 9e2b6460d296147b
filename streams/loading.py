"""The file and the environment as settings. Every wrong key is named with its line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError
from yaml.constructor import SafeConstructor

from schemas.errors import ConfigurationError
from streams.consistency import inconsistencies
from streams.settings import ENVIRONMENT_PREFIX, Settings

# The same language at a third of the time; a build of PyYAML may lack it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEFAULT_FILE = Path("turnout.yaml")
SHAPES = {
    "model_type": "hold keys with values; indent them below it",
    "dict_type": "hold keys with values; indent them below it",
    "tuple_type": "be a list; begin each of its items with `- `",
    "list_type": "be a list; begin each of its items with `- `",
}


def settings_file(given: Path | None) -> Path | None:
    """The file to read: `--config`, else TURNOUT_CONFIG, else turnout.yaml where there is one."""
    if given is not None:
        return given
    if named := os.environ.get("TURNOUT_CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_settings(file: Path | None) -> Settings:
    """Read the file and the environment. Raises ConfigurationError with one sentence for every wrong key."""
    document, root = ({}, None) if file is None else read_document(file)
    try:
        settings = Settings(**document)
    except ValidationError as error:
        raise ConfigurationError(*_sentences(error, file, root)) from None
    except SettingsError as error:
        said = str(error).partition(" from source")[0]
        raise ConfigurationError(
            f"environment: {said}; write it as JSON, or one key a variable as in TURNOUT_ROUTING__STRATEGY=cost"
        ) from None
    if problems := list(inconsistencies(settings)):
        raise ConfigurationError(*(_sentence([*path], "inconsistent", said, file, root) for path, said in problems))
    return settings


def read_document(file: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """What the file says, and its nodes, which know their lines. Raises ConfigurationError where it is no clear YAML."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=LOADER)
        problems = [f"{file}:{problem}" for problem in _ambiguous(root)]
        document = {} if root is None or problems else SafeConstructor().construct_document(root) or {}
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read ({error.strerror}); name a file with --config") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise ConfigurationError(f"{where}: {problem}; correct the YAML") from None
    if problems:
        raise ConfigurationError(*problems)
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}:1: the file must be a mapping of sections such as kafka and catalog")
    return document, root


def _ambiguous(node: yaml.Node | None, path: str = "", above: tuple[yaml.Node, ...] = ()) -> Iterator[str]:
    """`LINE: what is wrong` of a key that stands twice, of which YAML would keep the last alone, and of a value in itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    if node in above:
        yield f"{node.start_mark.line + 1}: {path} holds itself; remove the alias"
        return
    lines: dict[str, int] = {}
    for index, item in enumerate(node.value):
        key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
        name = f"{path}.{index if key is None else key.value}".removeprefix(".")
        if key is not None:
            line = key.start_mark.line + 1
            if name in lines:
                yield f"{line}: {name} stands on line {lines[name]} already; keep one of the two"
            lines.setdefault(name, line)
        yield from _ambiguous(value, name, (*above, node))


def _sentences(error: ValidationError, file: Path | None, root: yaml.Node | None) -> list[str]:
    return [
        _sentence([*problem["loc"], *path], problem["type"], message, file, root)
        for problem in error.errors(include_input=False, include_url=False)
        # A catalog names all that does not fit together at once.
        for path, message in problem.get("ctx", {}).get("problems", [((), problem["msg"])])
    ]


def _sentence(place: list[str | int], kind: str, message: str, file: Path | None, root: yaml.Node | None) -> str:
    # pydantic adds "[key]" where a key of a mapping is wrong.
    path = [part for part in place if isinstance(part, (str, int)) and part != "[key]"]
    name = ".".join(str(part) for part in path) or "configuration"
    line = _line(root, path)
    variable = ENVIRONMENT_PREFIX + "__".join(str(part) for part in path).upper()
    where = variable if variable in os.environ else f"{file}:{line}" if line else str(file or "environment")
    if kind == "extra_forbidden":
        return f"{where}: {name} is not a key that Turnout knows; remove it or correct its spelling"
    if kind in SHAPES:
        return f"{where}: {name} must {SHAPES[kind]}"
    message = message.removeprefix("Value error, ")
    # An id keeps its letters.
    return f"{where}: {name}: {message if kind == 'inconsistent' else message[:1].lower() + message[1:]}"


def _line(node: yaml.Node | None, path: list[str | int]) -> int | None:
    """The line of the deepest part of `path` that stands in the file, counted from 1."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None:
                return line
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
