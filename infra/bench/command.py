"""How a benchmark that starts whole processes ends: its results as JSON on stdout and in a file, or why there are none."""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from schemas.errors import TurnoutError


def concluded(measure: Callable[[Path], Mapping[str, Any]], file: Path | None) -> int:
    """Run `measure` in a temporary folder, print what it found and write it to `file`. The exit code: 1 where a part failed."""
    try:
        with tempfile.TemporaryDirectory(prefix="turnout-bench-") as folder:
            results = measure(Path(folder))
    except TurnoutError as error:
        print(error, file=sys.stderr)
        return 1
    shown = json.dumps(results, indent=2)
    print(shown)
    if file is not None:
        file.write_text(shown + "\n")
    return 0
