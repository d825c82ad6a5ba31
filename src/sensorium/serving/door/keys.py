"""API keys: several, kept as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.run import sha256_text, write_atomic

ENVIRONMENT = "SENSORIUM_API_KEYS"
LEAST_LENGTH = 16  # characters; a hash of less could be undone by trying
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")


def key_name(token: str, hashes: Mapping[str, str]) -> str | None:
    """The name of the key that ``token`` is, or None. Every hash is compared, each in constant time."""
    found, given = None, hashlib.sha256(token.encode("utf-8", errors="surrogateescape")).hexdigest()
    for name, kept in hashes.items():
        if hmac.compare_digest(given, kept):
            found = name
    return found


def make_key(name: str, path: str | Path) -> str:
    """A new key of 256 random bits; its hash is added to the file under ``name``, the key itself is kept nowhere.

    Raises:
        SensoriumError: the name is taken or holds other characters than letters, digits, dot, line and underscore.
    """
    path = Path(path)
    kept = read_keys(path) if path.exists() else {}
    if not _NAME.fullmatch(name):
        raise SensoriumError("this is no name for a key", where=name, mend="use letters, digits, . _ and -")
    if name in kept:
        raise SensoriumError(f"{name} has a key already", where=str(path), mend="give another name, or delete its line")
    key = f"sk-{secrets.token_urlsafe(32)}"
    kept[name] = sha256_text(key)
    write_atomic(path, "".join(f"{name}:{hash_}\n" for name, hash_ in kept.items()))
    os.chmod(path, 0o600)
    return key


def read_keys(path: str | Path) -> dict[str, str]:
    """Hashes by name from a file of lines ``NAME:SHA-256``; empty lines and those that begin with # are passed over.

    Raises:
        SensoriumError: the file cannot be read, a line is no hash, or there is none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise SensoriumError("the keys cannot be read", where=str(path), mend="check the path") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, hash_ = line.strip().rpartition(":")
        if not _NAME.fullmatch(name) or not _HASH.fullmatch(hash_):
            raise SensoriumError(
                f"line {number} is not NAME:HASH", where=str(path), mend="make keys with sensorium serve --new-key NAME"
            )
        found[name] = hash_
    if not found:
        raise SensoriumError("there is no key", where=str(path), mend="make one with sensorium serve --new-key NAME")
    return found


def keys_of_environment(value: str | None) -> dict[str, str]:
    """Hashes of the keys in ``SENSORIUM_API_KEYS``, parted by commas.

    Raises:
        SensoriumError: a key is so short that it could be guessed.
    """
    keys = [key.strip() for key in (value or "").split(",") if key.strip()]
    if any(len(key) < LEAST_LENGTH for key in keys):
        raise SensoriumError(
            f"a key is shorter than {LEAST_LENGTH} characters", where=ENVIRONMENT, mend="use longer, random ones"
        )
    return {f"environment-{i}": sha256_text(key) for i, key in enumerate(keys, 1)}
