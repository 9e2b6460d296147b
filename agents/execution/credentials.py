"""Keys, by reference. A key is read once, checked, and never shown: not in errors, not in a repr."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from agents.execution.providers import PROVIDERS
from schemas.catalog import Deployment
from schemas.errors import ConfigurationError

# Visible ASCII: what a header value may hold without quoting. An error text about an illegal one would hold the key.
_LEGAL = re.compile(r"[\x21-\x7e]+")
_FILE_LIMIT = 64 * 1024


class Credentials:
    """The keys behind `env:NAME` and `file:PATH` references."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """environment: the process's own by default."""
        self._environment = os.environ if environment is None else environment
        self._keys: dict[str, str] = {"": ""}

    def __repr__(self) -> str:
        return f"Credentials({len(self._keys) - 1} keys)"

    def problem(self, deployment: Deployment) -> str | None:
        """Why the deployment has no usable key: one sentence with the reference, never the value. None: it has one."""
        try:
            self.key(deployment.api_key)
        except ConfigurationError as error:
            return str(error)
        return None

    def key(self, reference: str) -> str:
        """The key; "" for the empty reference. Raises ConfigurationError that names the reference only."""
        known = self._keys.get(reference)
        if known is not None:
            return known
        kind, _, name = reference.partition(":")
        if kind == "env":
            text = self._environment.get(name)
            if text is None:
                raise ConfigurationError(f"The credential {reference} is missing; set the environment variable {name}.")
        elif kind == "file":
            text = _read(reference, Path(name))
        else:
            # The text may be a key that somebody put in the wrong place.
            raise ConfigurationError("A credential must be given as env:NAME or file:PATH, never as the key itself.")
        key = text.strip()
        if not key:
            raise ConfigurationError(f"The credential {reference} is empty; put the key there.")
        if not _LEGAL.fullmatch(key):
            raise ConfigurationError(
                f"The credential {reference} holds characters that no header may carry; it must be one line of ASCII."
            )
        self._keys[reference] = key
        return key

    def forget(self, reference: str) -> None:
        """Read the key again at its next use: it was rotated, or released from quarantine."""
        if reference:
            self._keys.pop(reference, None)

    def header_for(self, deployment: Deployment) -> dict[str, str]:
        """The headers that authenticate a call, none without a key. Raises ConfigurationError as `key` does."""
        key = self.key(deployment.api_key)
        return PROVIDERS[deployment.provider].auth(deployment, key) if key else {}


def _read(reference: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT).decode("utf-8")
    except OSError as error:
        reason = type(error).__name__
        raise ConfigurationError(f"The credential {reference} cannot be read ({reason}); check the path.") from None
    except UnicodeDecodeError:
        # From None: the error holds the bytes.
        raise ConfigurationError(f"The credential {reference} is not text; put the key there as one line.") from None
