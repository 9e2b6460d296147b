"""The command line in this process."""

import pytest

from infra.cli.main import run_command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = run_command(arguments)
    printed = capsys.readouterr()
    return status, printed.out, printed.err
