"""The log that the sink's bench writes: every event is one that the product reads, and requests are whole."""

from collections import Counter

from infra.bench.sink_log import requests_log
from projections.clickhouse.rows import row_of
from schemas.codec import Codec


def test_every_event_is_readable_and_every_request_whole() -> None:
    codec, kinds = Codec(), Counter[str]()
    for place, (partition, (kind, event)) in enumerate(requests_log(200, 4, 1_790_000_000_000_000, 100.0)):
        value = codec.encode(event)
        assert codec.decode(value) == event
        row_of(kind, f"llm.{kind}", partition, place, 1, codec.newest(value))
        kinds[type(event).__name__] += 1
    assert (
        kinds["RequestAccepted"]
        == kinds["RouteDecided"]
        == kinds["RequestCompleted"]
        == kinds["AttemptSucceeded"]
        == 200
    )
    assert kinds["AttemptStarted"] == kinds["CostReserved"] == kinds["CostIncurred"] == 200 + kinds["AttemptFailed"]
    assert 0 < kinds["AttemptFailed"] < 40
