"""Reading CTranslate2's ``model.bin`` (binary version 6, ctranslate2/specs/model_spec.py of CTranslate2 4).

Little endian throughout. A string is a 16-bit length, its final NUL included, and the bytes:

    u32 binary version, string name of the spec, u32 revision of the spec
    u32 number of variables, then for each:
        string name, u8 rank, rank × u32 sizes, u8 type, u32 number of bytes, the bytes
    u32 number of aliases, then for each: string alias, string name of the variable that it stands for
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

VERSION = 6
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_variables(path: str | Path) -> dict[str, np.ndarray]:
    """{name: array in its stored type}, aliases included; the arrays are views of one read-only buffer.

    Raises:
        ValueError: another version, an unknown type, or a file that ends early or late.
    """
    data = Path(path).read_bytes()
    at = 0

    def take(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(form)
        return int(value)

    def text() -> str:
        nonlocal at
        length = take("H")
        at += length
        return data[at - length : at - 1].decode("utf-8")

    try:
        if (version := take("I")) != VERSION:
            raise ValueError(f"binary version {version} instead of {VERSION}")
        text(), take("I")
        variables: dict[str, np.ndarray] = {}
        for _ in range(take("I")):
            name = text()
            shape = [take("I") for _ in range(take("B"))]
            kind, size = take("B"), take("I")
            if kind not in _TYPES:
                raise ValueError(f"{name} has the unknown type {kind}")
            array = np.frombuffer(data, _TYPES[kind], count=size // np.dtype(_TYPES[kind]).itemsize, offset=at)
            variables[name] = array.reshape(shape)
            at += size
        for _ in range(take("I")):
            alias = text()
            variables[alias] = variables[text()]
    except (struct.error, UnicodeDecodeError, KeyError) as error:
        raise ValueError(f"not a whole CTranslate2 model ({error})") from None
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many behind the last variable")
    return variables
