"""Sound: decoded from bytes that nobody vouches for, resampled, heard as Whisper hears, augmented and corrupted."""

from __future__ import annotations

import io
from functools import cache

import numpy as np

from sensorium.errors import MediaError
from sensorium.modalities import Corruption, corruption

RATE = 16_000  # Hz
MAX_SECONDS = 30.0  # Whisper's window
MAX_BYTES = 64 << 20
MAX_CHANNELS = 32
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz
_BLOCK = 65_536  # frames read at a time
MELS, WINDOW, HOP = 80, 400, 160  # mel bands; samples of a frame and between frames
_SPAN = 30 * RATE  # samples that Whisper pads to


def decode(data: bytes, rate: int = RATE, max_seconds: float = MAX_SECONDS, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The sound in ``data``: (samples,) float32, one channel (their mean), at ``rate`` Hz, between -1 and 1.

    At most the first ``max_seconds`` are decoded, however long the sound is. Louder floats are scaled down.

    Raises:
        MediaError: too large, no sound that libsndfile reads, damaged, truncated or empty.
    """
    samples, found, _ = _read(data, max_seconds, max_bytes)
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        raise MediaError("the sound holds samples that are no numbers", mend="export it again")
    if peak > 1:
        samples = samples / np.float32(peak)
    if found != rate:
        import soxr

        resampled = soxr.resample(samples, found, rate)
        samples = resampled if len(resampled) else samples[:1]
    return np.ascontiguousarray(samples[: max(1, int(max_seconds * rate))], dtype=np.float32)


def header(data: bytes, max_bytes: int = MAX_BYTES) -> tuple[str, float, int, int]:
    """(format, seconds, Hz, channels) without decoding; seconds as the file says. Raises MediaError."""
    with _open(data, max_bytes) as file:
        return str(file.format), file.frames / file.samplerate, int(file.samplerate), int(file.channels)


class _Bytes(io.BytesIO):
    """Bytes as a file for libsndfile, which asks for impossible places in damaged ones."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell()}.get(whence, len(self.getbuffer()))
        return super().seek(min(max(0, start + offset), len(self.getbuffer())))


def _open(data: bytes, max_bytes: int):  # type: ignore[no-untyped-def]
    import soundfile

    if not data:
        raise MediaError("the sound is empty", mend="replace the file")
    if len(data) > max_bytes:
        raise MediaError(f"the sound has {len(data):,} bytes, more than {max_bytes:,}", mend="shorten or compress it")
    try:
        file = soundfile.SoundFile(_Bytes(data))
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise MediaError(
            "this is no sound in a format that can be read", mend="convert it to WAV, FLAC, Ogg or MP3"
        ) from error
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE or not 1 <= file.channels <= MAX_CHANNELS:
        what = f"the sound has {file.channels} channels at {file.samplerate:,} Hz"
        file.close()
        raise MediaError(what, mend=f"export it with 1 to {MAX_CHANNELS} channels at 8 to 192 kHz")
    return file


def _read(data: bytes, max_seconds: float, max_bytes: int) -> tuple[np.ndarray, int, bool]:
    """(samples,) float32 of the channels' mean, the rate, and whether there was more."""
    import soundfile

    with _open(data, max_bytes) as file:
        if _cut_short(data):
            raise MediaError("the sound is truncated", mend="export it again")
        rate, limit = int(file.samplerate), max(1, int(max_seconds * file.samplerate))
        blocks: list[np.ndarray] = []
        count = 0
        try:
            while count < limit:
                wanted = min(_BLOCK, limit - count)
                block = file.read(wanted, dtype="float32", always_2d=True)
                blocks.append(block.mean(axis=1, dtype=np.float32))
                count += len(block)
                if len(block) < wanted:
                    break
        except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError, MemoryError) as error:
            raise MediaError(f"the sound is damaged ({str(error)[:120]})", mend="export it again") from None
        more = count >= limit and file.frames > count
        missing = file.frames - count if count < limit else 0
    if not count:
        raise MediaError("the sound holds no samples", mend="replace the file")
    if file.format == "FLAC" and 0 < missing < 2**40:
        raise MediaError("the sound is truncated", mend="export it again")
    return np.concatenate(blocks), rate, more


def _cut_short(data: bytes) -> bool:
    """Whether a container says that it is longer than its bytes; libsndfile reads what is there and says nothing."""
    if data[:4] in (b"RIFF", b"FORM"):
        size = int.from_bytes(data[4:8], "little" if data[:4] == b"RIFF" else "big")
        # Streams whose length was not known when the header was written say 0 or the largest number.
        return 0 < size < 0x7FFF0000 and size + 8 > len(data) + 1
    if data[:4] == b"OggS":
        last = data.rfind(b"OggS")
        table = data[last + 27 : last + 27 + data[last + 26]] if len(data) > last + 27 else b""
        return len(data) <= last + 27 or len(table) < data[last + 26] or len(data) < last + 27 + len(table) + sum(table)
    return False


# -- log-mel ---------------------------------------------------------------------------------------


def log_mel(samples: np.ndarray) -> np.ndarray:
    """(samples,) at 16 kHz -> (80, frames) float32, Whisper's log-mel (Radford et al. 2022), a frame each 10 ms.

    Equal to the frames that Whisper makes of the sound padded with silence to 30 s; only those that begin within the
    sound are given, at least one.
    """
    count = len(samples)
    padded = np.pad(np.asarray(samples, dtype=np.float64), (0, min(WINDOW, max(0, _SPAN - count))))
    padded = np.pad(padded, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows * _hann(), axis=1)) ** 2
    logs = np.log10(np.maximum(power @ mel_filters(), 1e-10))
    frames = max(1, -(-count // HOP))
    # Frames behind the sound's end hear its last samples too: the loudest of all sets the floor.
    last = len(logs) - 1 if count >= _SPAN else len(logs)
    floor = logs[:last].max() - 8.0
    return np.ascontiguousarray(((np.maximum(logs[: min(frames, last)], floor) + 4.0) / 4.0).T, dtype=np.float32)


@cache
def _hann() -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def mel_filters() -> np.ndarray:
    """(201, 80): triangles evenly spaced in Slaney's mel scale from 0 to 8 kHz, each of area one (Slaney 1998)."""
    edges = _hertz(np.linspace(0.0, _mel(8000.0), MELS + 2))
    bins = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))


def _mel(hertz: float) -> float:
    return float(15.0 + np.log(hertz / 1000.0) * 27.0 / np.log(6.4)) if hertz >= 1000.0 else 3.0 * hertz / 200.0


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels >= 15.0, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels - 15.0)), 200.0 * mels / 3.0)


# -- augmentation ----------------------------------------------------------------------------------


def augment(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mild changes of speed (5 %), place (a tenth), loudness (6 dB) and noise; (samples,) float32 as before."""
    count = len(samples)
    speed = rng.uniform(0.95, 1.05)
    changed = np.interp(np.arange(max(1, round(count / speed))) * speed, np.arange(count), samples)
    changed = _fit(changed, count)
    shift = int(rng.integers(-(count // 10), count // 10 + 1))
    shifted = np.zeros(count)
    if shift >= 0:
        shifted[shift:] = changed[: count - shift]
    else:
        shifted[:shift] = changed[-shift:]
    shifted *= 10 ** (rng.uniform(-6, 6) / 20)
    return _bounded(noisy(shifted, rng.uniform(20, 40), rng.normal(size=count)))


def _fit(samples: np.ndarray, count: int) -> np.ndarray:
    return samples[:count] if len(samples) >= count else np.pad(samples, (0, count - len(samples)))


def noisy(samples: np.ndarray, decibels: float, noise: np.ndarray) -> np.ndarray:
    """``samples`` under ``noise`` at a signal-to-noise ratio in dB; silence stays as it is."""
    signal, power = float(np.mean(np.square(samples, dtype=np.float64))), float(np.mean(np.square(noise)))
    if signal == 0 or power == 0:
        return samples
    return samples + noise * np.sqrt(signal / power / 10 ** (decibels / 10))


def _bounded(samples: np.ndarray) -> np.ndarray:
    """float32 within -1 and 1, scaled as a whole where it is louder, so that nothing new is clipped."""
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples / peak if peak > 1 else samples).astype(np.float32)


# -- corruption ------------------------------------------------------------------------------------


def _white_noise(samples: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    return noisy(samples, (20, 15, 10, 5, 0)[severity - 1], rng.normal(size=len(samples)))


def _babble(samples: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Six voices that say nothing: noise with speech's spectrum, each swelling four times a second."""
    count = len(samples)
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    spectrum = np.where((hertz > 100) & (hertz < 4000), 1 / np.maximum(hertz, 250), 0.0)
    seconds = np.arange(count) / RATE
    babble = np.zeros(count)
    for _ in range(6):
        voice = np.fft.irfft(np.fft.rfft(rng.normal(size=count)) * spectrum, n=count)
        babble += voice * (1 + np.sin(2 * np.pi * (rng.uniform(3, 5) * seconds + rng.random())))
    return noisy(samples, (20, 15, 10, 5, 0)[severity - 1], babble)


def _clip(samples: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    limit = (0.7, 0.5, 0.3, 0.2, 0.1)[severity - 1] * np.abs(samples).max()
    return np.clip(samples, -limit, limit)


def _low_pass(samples: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    cutoff = (4000, 3000, 2000, 1200, 700)[severity - 1]
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return np.fft.irfft(np.fft.rfft(samples) / np.sqrt(1 + (hertz / cutoff) ** 12), n=len(samples))  # Butterworth


def _dropouts(samples: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Pieces of 20 to 60 ms go silent, as in a bad call."""
    out, count = samples.copy(), len(samples)
    gone, wanted = 0, (0.05, 0.1, 0.2, 0.3, 0.45)[severity - 1] * count
    while gone < wanted:
        length, start = int(rng.integers(RATE // 50, RATE * 3 // 50)), int(rng.integers(count))
        out[start : start + length] = 0
        gone += min(length, count - start)
    return out


def _reverberation(samples: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """A room's answer as decaying noise; 60 dB down after 0.2 to 1.5 s."""
    decay = (0.2, 0.4, 0.7, 1.0, 1.5)[severity - 1]
    length = int(decay * RATE)
    room = rng.normal(size=length) * 10 ** (-3 * np.arange(length) / length)
    room *= 0.5 / np.sqrt(np.sum(room**2)) * severity
    room[0] = 1.0
    size = 1 << (len(samples) + length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(room, size), size)[: len(samples)]


CORRUPTIONS: dict[str, Corruption] = {
    "white_noise": _white_noise,
    "babble": _babble,
    "clip": _clip,
    "low_pass": _low_pass,
    "dropouts": _dropouts,
    "reverberation": _reverberation,
}


def corrupt(samples: np.ndarray, kind: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """(samples,) float32 at 16 kHz spoilt by one of ``CORRUPTIONS``; shape and type stay.

    Raises:
        ValueError: there is no such kind, or ``severity`` is not 1 to 5.
    """
    return _bounded(corruption(CORRUPTIONS, kind, severity)(samples, severity, rng))
