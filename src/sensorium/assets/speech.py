"""Speech from text with espeak-ng, through the library and voices that the package espeakng-loader carries.

The library keeps phases and random numbers from one call to the next, so that a second call sounds a little different.
It is therefore loaded anew for every call (7 ms with the synthesis): what is said depends on the arguments alone.
It is not thread-safe: one lock guards it.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import AssetError

# Of speak_lib.h.
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: nothing is played, samples come to the callback before the call returns
_NO_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8, _END_PAUSE = 1, 0x1000
_CHARACTERS = 1  # POS_CHARACTER
_SPEED, _PITCH = 1, 3  # espeakRATE, espeakPITCH
_RANGES = {"speed": (80, 450), "pitch": (0, 99)}
_LONGEST = 10_000  # characters in one call

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_lock = threading.Lock()


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # each a priority byte and a name; a zero ends them
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


def synthesise(text: str, voice: str = "en-us", speed: int = 175, pitch: int = 50) -> tuple[np.ndarray, int]:
    """Speak ``text``; the same arguments give the same samples.

    Args:
        voice: of ``voices()``; a variant of the speaker may follow, as in ``en-us+f3``.
        speed: words a minute, 80 to 450.
        pitch: 0 to 99.

    Returns:
        Mono samples (samples,) float32 in [-1, 1], and their rate in Hz.

    Raises:
        AssetError: an unknown voice, a number out of range, or more than 10,000 characters.
    """
    for name, value in (("speed", speed), ("pitch", pitch)):
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise AssetError(f"{name} {value} is out of range", where="speech", mend=f"choose {low} to {high}")
    if len(text) > _LONGEST:
        raise AssetError(f"{len(text):,} characters are too many at once", where="speech", mend="speak it in parts")
    language, _, variant = voice.partition("+")
    if language not in voices():
        raise AssetError(f"no voice {voice!r}", where="speech", mend="sensorium.assets.speech.voices() lists them")
    if variant and variant not in variants():  # espeak-ng would speak on without it
        raise AssetError(
            f"no variant {variant!r}", where="speech", mend="sensorium.assets.speech.variants() lists them"
        )
    encoded = text.replace("\0", " ").encode("utf-8", errors="replace") + b"\0"
    blocks: list[np.ndarray] = []

    @_Callback
    def keep(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    with _library() as (library, rate):
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        library.espeak_SetSynthCallback(keep)
        library.espeak_SetVoiceByName(voice.encode())
        library.espeak_SetParameter(_SPEED, speed, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        flags = _UTF8 | _END_PAUSE
        code = library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, _CHARACTERS, 0, flags, None, None)
    if code != 0:
        raise AssetError(f"espeak-ng failed with code {code}", where="speech", mend="reinstall espeakng-loader")
    return np.concatenate([np.zeros(0, np.int16), *blocks]).astype(np.float32) / 32768, rate


@cache
def variants() -> tuple[str, ...]:
    """Names that vary a voice's speaker, as in ``en-us+f3``, sorted."""
    import espeakng_loader

    return tuple(sorted(file.name for file in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir()))


@cache
def voices() -> tuple[str, ...]:
    """Names of the languages and accents that ``synthesise`` speaks, sorted."""
    names = set()
    with _library() as (library, _):
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        listed = library.espeak_ListVoices(None)
        at = 0
        while listed[at]:
            place = listed[at].contents.languages
            while len(entry := ctypes.string_at(place)) > 1:
                names.add(entry[1:].decode())
                place += len(entry) + 1
            at += 1
    return tuple(sorted(names))


@contextmanager
def _library() -> Iterator[tuple[Any, int]]:
    """The library in its first state, and its rate in Hz; unloaded again at the end."""
    import espeakng_loader

    with _lock:
        try:
            library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise AssetError(
                f"espeak-ng's library cannot be loaded ({error})", where="speech", mend="pip install espeakng-loader"
            ) from None
        try:
            rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _NO_EXIT)
            if rate <= 0:
                raise AssetError("espeak-ng did not start", where="speech", mend="reinstall espeakng-loader")
            yield library, rate
            library.espeak_Terminate()
        finally:
            unload = "FreeLibrary" if os.name == "nt" else "dlclose"
            getattr(_ctypes, unload)(library._handle)
