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
        self._refused: set[tuple[str, str]] = set()
        self._files: dict[str, tuple[int, ...]] = {}

    def __repr__(self) -> str:
        return f"Credentials({len(self._keys) - 1} keys)"

    def problem(self, deployment: Deployment) -> str | None:
        """Why the deployment has no usable key: one sentence with the reference, never the value. None: it has one."""
        try:
            self.choose(deployment)
            self.proxy(deployment)
        except ConfigurationError as error:
            return str(error)
        return None

    def choose(self, deployment: Deployment) -> str:
        """The reference to call with: the first that is readable and was not refused, else the first that is readable.

        Raises ConfigurationError as `key` does where none is readable.
        """
        readable, problem = [], None
        for reference in deployment.credentials:
            try:
                self.key(reference)
            except ConfigurationError as error:
                problem = problem or error
                continue
            if (deployment.id, reference) not in self._refused:
                return reference
            readable.append(reference)
        if readable:
            return readable[0]
        assert problem is not None, "a deployment has at least one reference"
        raise problem

    def refuse(self, deployment: Deployment, reference: str) -> bool:
        """The provider refused this one: the next takes its place. Returns whether there is a next one."""
        self._refused.add((deployment.id, reference))
        try:
            return (deployment.id, self.choose(deployment)) not in self._refused
        except ConfigurationError:
            return False

    def release(self, deployment: str) -> None:
        """Use every credential of the deployment again, and read it anew."""
        for refused in [refused for refused in self._refused if refused[0] == deployment]:
            self._refused.discard(refused)
            self.forget(refused[1])

    def rotated(self) -> set[str]:
        """References whose file changed since it was read; they are used again, with what stands there now."""
        found = set()
        for reference, seen in list(self._files.items()):
            mark = _mark(reference)
            if mark == seen:
                continue
            self._files[reference] = mark
            known = self._keys.pop(reference, None)
            try:
                same = self.key(reference) == known
            except ConfigurationError:
                # Half written or gone for a moment: what was read goes on until there is a new key.
                same = True
                if known is not None:
                    self._keys[reference] = known
            if not same:
                found.add(reference)
                self._refused = {refused for refused in self._refused if refused[1] != reference}
        return found

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
            # Before it is read: a change in between is seen at the next look.
            self._files[reference] = _mark(reference)
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

    def proxy(self, deployment: Deployment) -> str:
        """The address of its proxy, "" for none. Raises ConfigurationError as `key` does."""
        named = deployment.proxy
        if not named.startswith(("env:", "file:")):
            return named
        address = self.key(named)
        if not address.startswith(("http://", "https://")):
            # The text may be a key that somebody named in the wrong place.
            raise ConfigurationError(f"{named} holds no address of a proxy; put http://USER:PASSWORD@HOST:PORT there.")
        return address

    def forget(self, reference: str) -> None:
        """Read the key again at its next use: it was rotated, or released from quarantine."""
        if reference:
            self._keys.pop(reference, None)

    def header_for(self, deployment: Deployment, reference: str | None = None) -> dict[str, str]:
        """The headers that authenticate a call, none without a key. Raises ConfigurationError as `key` does.

        reference: the one that `choose` gives by default.
        """
        key = self.key(self.choose(deployment) if reference is None else reference)
        return PROVIDERS[deployment.provider].auth(deployment, key) if key else {}


def _mark(reference: str) -> tuple[int, ...]:
    """What changes when a file does, () where it is missing."""
    try:
        stat = os.stat(reference.partition(":")[2])
    except OSError:
        return ()
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


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
