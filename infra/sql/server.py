"""A ClickHouse server by its address, and what to do where it does not answer or refuses us."""

import contextlib
import logging
from collections.abc import Iterator

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, scrub_error_details

from infra.urls import shown_url
from schemas.errors import OperationError

CREDENTIALS = frozenset((192, 193, 194, 516))
"""ClickHouse's codes for a user that it does not know, or a password that is not the user's."""
LONGEST_REASON = 300


@contextlib.contextmanager
def server(url: str, *, quorum: bool = False) -> Iterator[Client]:
    """A client for one thread at a time. `quorum`: an insert waits for a majority of the replicas.

    Raises OperationError for what the driver raises, here and in the body.
    """
    shown = shown_url(url)
    for library in ("urllib3.connectionpool", "clickhouse_connect"):
        # They warn of what is said below.
        logging.getLogger(library).setLevel(logging.ERROR)
    # A row that a majority of the replicas holds outlives the server that took it.
    options = {"insert_quorum": "auto"} if quorum else None
    try:
        with contextlib.closing(clickhouse_connect.get_client(dsn=url, settings=options)) as client:
            yield client
    except OperationalError:
        raise OperationError(f"ClickHouse at {shown} does not answer; start it, or correct sql.url.") from None
    except DatabaseError as error:
        if error.code in CREDENTIALS:
            raise OperationError(
                f"ClickHouse at {shown} refused our credentials; correct the user and password in sql.url."
            ) from None
        reason = scrub_error_details(str(error))[:LONGEST_REASON]
        raise OperationError(f"ClickHouse at {shown} refused a statement: {reason}") from error
