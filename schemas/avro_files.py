"""Writes the `.avsc` files of the newest event versions: `python -m schemas.avro_files`. A test holds them equal."""

from pathlib import Path
from typing import Any

import orjson

from schemas.codec import NEWEST, TAGGED
from schemas.shapes import avro_schema

FOLDER = Path(__file__).parent / "avro"


def newest_schemas() -> dict[str, dict[str, Any]]:
    """File name -> schema, of every event in its newest version."""
    return {f"{name}.v{NEWEST[name]}.avsc": avro_schema(shape, tag=True) for name, shape in TAGGED.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in newest_schemas().items():
        (FOLDER / name).write_bytes(orjson.dumps(schema, option=orjson.OPT_INDENT_2) + b"\n")
