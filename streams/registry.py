"""A Confluent-compatible schema registry: every schema that Turnout writes is registered there at the start."""

from collections.abc import Mapping

import httpx
import orjson

from schemas.chat_avro import chat_schemas
from schemas.codec import WireSchema, wire_schemas
from schemas.errors import OperationError
from schemas.shapes import NAMESPACE

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
TIMEOUT_S = 10.0


def subject(prefix: str, schema: WireSchema) -> str:
    """`{prefix}turnout.RECORD`: the record's full name, so that several event types may share one topic."""
    return f"{prefix}{NAMESPACE}.{schema.event}"


async def register_schemas(url: str, prefix: str) -> Mapping[tuple[str, int], int]:
    """Register every event and chat schema; (record, version) -> id. Registering again gives the same ids.

    `url`: base of the registry, which may hold a user and password. `prefix`: put before every subject, may be empty.
    Raises OperationError.
    """
    try:
        base = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL:
        raise OperationError("kafka.schema_registry_url is not a URL; write http(s)://HOST:PORT") from None
    shown = str(base.copy_with(username=None, password=None))
    # Versions of one record are registered oldest first: the registry checks each against those before it.
    schemas = sorted([*wire_schemas(), *chat_schemas()], key=lambda schema: (schema.event, schema.version))
    headers = {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE}
    async with httpx.AsyncClient(timeout=TIMEOUT_S, headers=headers) as client:
        return {
            (schema.event, schema.version): await _register(client, base, shown, subject(prefix, schema), schema)
            for schema in schemas
        }


async def _register(client: httpx.AsyncClient, base: httpx.URL, shown: str, name: str, schema: WireSchema) -> int:
    content = orjson.dumps({"schema": orjson.dumps(schema.document).decode()})
    try:
        response = await client.post(f"{base}/subjects/{name}/versions", content=content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OperationError(
            f"the schema registry at {shown} cannot be reached ({type(error).__name__}); "
            "start it or correct kafka.schema_registry_url"
        ) from None
    match response.status_code:
        case 200:
            return _id(response, shown)
        case 409:
            raise OperationError(
                f"the schema registry at {shown} finds {name} v{schema.version} incompatible with what it holds; "
                f"set the compatibility of {name} to NONE, or use another prefix"
            )
        case 401 | 403:
            raise OperationError(
                f"the schema registry at {shown} refused our credentials with {response.status_code}; "
                "correct the user and password in kafka.schema_registry_url"
            )
        case status:
            raise OperationError(
                f"the schema registry at {shown} answered {status} for {name}; see the registry's log for the reason"
            )


def _id(response: httpx.Response, shown: str) -> int:
    try:
        number = orjson.loads(response.content)["id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        number = None
    if type(number) is not int or not 0 <= number < 2**32:
        raise OperationError(f"what answers at {shown} is no schema registry; correct kafka.schema_registry_url")
    return number
