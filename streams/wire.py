"""Kafka's messages, as aiokafka describes them, with each run of numbers packed and unpacked in one go.

aiokafka packs field by field, three calls a number, and an answer to a write or a fetch has four or five for each partition.
"""

import copy
import struct
from collections.abc import Sequence
from io import BytesIO
from itertools import groupby
from typing import Any

import aiokafka.client  # noqa: F401 - with it come all messages
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Boolean, Float64, Int8, Int16, Int32, Int64, Schema, UInt32

FORMATS: dict[Any, str] = {Int8: "b", Int16: "h", Int32: "i", UInt32: "I", Int64: "q", Float64: "d", Boolean: "?"}


class Packed(Schema):  # type: ignore[misc]
    """A schema that writes and reads the same bytes as one of aiokafka's with the same fields, and raises the same.

    `_parts`: (first, end, run, field): a run of numbers at items first to end, or one other field.
    """

    def __init__(self, *fields: tuple[str, Any]) -> None:
        super().__init__(*[(name, packed(field)) for name, field in fields])
        self._parts: list[tuple[int, int, struct.Struct | None, Any]] = []
        places = list(enumerate(self.fields))
        for numbers, run in groupby(places, key=lambda place: place[1] in FORMATS):
            taken = list(run)
            if numbers:
                form = struct.Struct(">" + "".join(FORMATS[field] for _, field in taken))
                self._parts.append((taken[0][0], taken[-1][0] + 1, form, None))
            else:
                self._parts += [(place, place + 1, None, field) for place, field in taken]
        self._alone = self._parts[0][2] if len(self._parts) == 1 else None

    def encode(self, item: Sequence[Any]) -> bytes:
        if len(item) != len(self.fields):
            raise ValueError("Item field count does not match Schema")
        try:
            return b"".join(
                [
                    field.encode(item[first]) if run is None else run.pack(*item[first:end])
                    for first, end, run, field in self._parts
                ]
            )
        except struct.error as error:
            raise ValueError(f"{item!r} does not fit {self.names}: {error}") from error

    def decode(self, data: BytesIO) -> tuple[Any, ...]:
        try:
            if self._alone is not None:
                return self._alone.unpack(data.read(self._alone.size))
            values: list[Any] = []
            for _, _, run, field in self._parts:
                if run is None:
                    values.append(field.decode(data))
                else:
                    values += run.unpack(data.read(run.size))
        except struct.error as error:
            raise ValueError(f"too few bytes for {self.names}: {error}") from error
        return tuple(values)


def packed(field: Any) -> Any:
    """The same type of field, with every schema in it packed."""
    if isinstance(field, Schema):
        return Packed(*zip(field.names, field.fields, strict=True))
    if isinstance(field, Array):
        made = copy.copy(field)
        made.array_of = packed(field.array_of)
        return made
    return field


def messages(kind: type[Struct] = Struct) -> list[type[Struct]]:
    """Every message that aiokafka knows."""
    return [each for one in kind.__subclasses__() for each in (one, *messages(one))]


def pack_all() -> None:
    """Let aiokafka's messages be packed from now on."""
    for message in messages():
        message.SCHEMA = packed(message.SCHEMA)
