"""Several credentials of a deployment: which one is used, and when one is read again."""

import ssl
from pathlib import Path

import pytest

from agents.execution.credentials import Credentials
from agents.execution.target import Targets
from schemas.catalog import Deployment
from schemas.errors import ConfigurationError


def deployment(*references: str, id: str = "d") -> Deployment:
    return Deployment(id=id, provider="openai", model="m", base_url="http://h", api_key=references or "")


def test_the_next_one_takes_over_for_that_deployment_alone() -> None:
    credentials = Credentials({"A": "a", "B": "b"})
    one, other = deployment("env:A", "env:B"), deployment("env:A", id="other")
    assert credentials.choose(one) == "env:A"
    assert credentials.refuse(one, "env:A") is True
    assert credentials.choose(one) == "env:B"
    assert credentials.choose(other) == "env:A"
    assert credentials.refuse(one, "env:B") is False
    credentials.release("d")
    assert credentials.choose(one) == "env:A"


def test_one_that_is_missing_is_passed_over_and_named_where_none_is_left() -> None:
    credentials = Credentials({"B": "b"})
    assert credentials.choose(deployment("env:A", "env:B")) == "env:B"
    assert credentials.problem(deployment("env:A", "env:B")) is None
    with pytest.raises(ConfigurationError, match="env:A"):
        credentials.choose(deployment("env:A", "env:C"))
    assert credentials.refuse(deployment("env:A", "env:B"), "env:B") is False


def test_without_a_key() -> None:
    assert Credentials({}).header_for(deployment()) == {}
    assert Credentials({}).refuse(deployment(), "") is False


def test_a_file_that_changes_is_used_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    reference = f"file:{file}"
    credentials, one = Credentials({"B": "b"}), deployment(f"file:{file}", "env:B")
    # Missing at first: it appears later.
    assert credentials.choose(one) == "env:B"
    assert credentials.rotated() == set()
    file.write_text("first\n")
    assert credentials.rotated() == {reference}
    assert credentials.header_for(one) == {"authorization": "Bearer first"}
    credentials.refuse(one, reference)
    # Written anew with the same key, half written, gone: nothing to use again.
    for text in ("first\n", "", None):
        if text is None:
            file.unlink()
        else:
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").rename(file)
        assert credentials.rotated() == set()
        assert credentials.key(reference) == "first"
        assert credentials.choose(one) == "env:B"
    file.write_text("second\n")
    assert credentials.rotated() == {reference}
    assert credentials.rotated() == set()
    assert credentials.header_for(one) == {"authorization": "Bearer second"}


async def test_a_proxy_that_changes_is_called_through_from_then_on(tmp_path: Path) -> None:
    file = tmp_path / "egress"
    file.write_text("http://127.0.0.1:1")
    targets = Targets(Credentials({}), ssl.create_default_context())
    through = deployment().model_copy(update={"proxy": f"file:{file}"})
    direct = deployment(id="direct")
    old, apart = targets.of(through), targets.of(direct)
    assert targets.rotated() == set()
    file.write_text("http://127.0.0.1:22")
    assert targets.rotated() == {f"file:{file}"}
    assert targets.of(through).transport is not old.transport
    assert targets.of(direct) is apart
    await targets.aclose()
