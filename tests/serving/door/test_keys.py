"""Keys are kept as hashes, and what is no hash is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sensorium.errors import SensoriumError
from sensorium.run import sha256_text
from sensorium.serving.door.keys import key_name, keys_of_environment, make_key, read_keys


def test_a_made_key_opens_and_stands_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    one, two = make_key("laptop", file), make_key("phone", file)
    hashes = read_keys(file)
    assert (key_name(one, hashes), key_name(two, hashes), key_name(one + "x", hashes)) == ("laptop", "phone", None)
    assert one not in file.read_text() and len(one) > 40 and one != two
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_hash_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
    assert key_name("first", {name: sha256_text(name) for name in ("first", "second", "third")}) == "first"
    assert len(compared) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("laptop:sk-a-key-in-clear\n", "line 1 is not NAME:HASH"),
        ("# a note\n\nlaptop\n", "line 3"),
        ("", "there is no key"),
        (f"a b:{'0' * 64}\n", "line 1"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "keys.txt").write_text(text)
    with pytest.raises(SensoriumError, match=told) as caught:
        read_keys(tmp_path / "keys.txt")
    assert "sk-a-key" not in str(caught.value)


def test_names_are_checked(tmp_path: Path) -> None:
    make_key("laptop", tmp_path / "k")
    with pytest.raises(SensoriumError, match="has a key already"):
        make_key("laptop", tmp_path / "k")
    with pytest.raises(SensoriumError, match="no name"):
        make_key("a:b", tmp_path / "k")


def test_keys_of_the_environment() -> None:
    hashes = keys_of_environment(" sk-0123456789abcdef , sk-fedcba9876543210,")
    assert key_name("sk-fedcba9876543210", hashes) == "environment-2"
    assert keys_of_environment(None) == {} == keys_of_environment(" , ")
    with pytest.raises(SensoriumError, match="shorter than 16"):
        keys_of_environment("short")
