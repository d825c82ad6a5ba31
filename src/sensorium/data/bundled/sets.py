"""Data sets that come with Sensorium: each a function from the cache folder to a source, built once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium import assets
from sensorium.data.readers.chunks import MEDIA, Chunk, canonical, from_values
from sensorium.data.tables import Source, build
from sensorium.run import sha256_file

QUESTIONS = {"name": "what is it?", "group": "which group?", "subgroup": "which subgroup?"}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Speakers of the spoken digits: accents, and espeak-ng's variants of women's and men's voices.
VOICES = (
    *("en-us", "en-us+f1", "en-us+f3", "en-us+m3", "en-us+m7", "en-029+m2", "en-029+f4", "en-us-nyc+m1"),
    *("en-gb-x-rp", "en-gb-x-rp+f2", "en-gb-x-rp+m4", "en-gb-scotland", "en-gb-scotland+f5", "en-gb-x-gbcwmd+m5"),
    "en-gb-x-gbclan+f1",
)
RATE = 16_000  # Hz
SPEEDS, PITCHES = (110, 260), (15, 85)  # words a minute; espeak-ng's 0 to 99


def emoji(cache: Path) -> Source:
    """1,906 pictures with names, tags, group and subgroup; a concept (skin tone, gender aside) stays in one split."""
    path = assets.locate("emoji") / "emoji.parquet"
    defaults = {"inputs": {"picture": "image", "name": "text"}, "target": "group", "group_by": "concept"}
    return _build(lambda: _emoji_chunks(path), "emoji", sha256_file(path), cache, defaults)


def _emoji_chunks(path: Path) -> Iterator[Chunk]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=512, use_threads=False):
            columns = {
                name: canonical(batch.column(name), name)
                for name in batch.schema.names
                if name not in ("tags", "names")
            }
            columns["tags"] = pa.array(
                [", ".join(tags or []) for tags in batch.column("tags").to_pylist()], pa.large_string()
            )
            names = ({k: v for k, v in (row or {}).items() if v} for row in batch.column("names").to_pylist())
            columns["names"] = pa.array([json.dumps(row, ensure_ascii=False) for row in names], pa.large_string())
            yield Chunk(0, columns, batch.num_rows)


def emoji_ask(cache: Path) -> Source:
    """Three questions about every emoji's picture: what it is, its group and its subgroup."""
    path = assets.locate("emoji") / "emoji.parquet"
    defaults = {"inputs": {"picture": "image", "question": "text"}, "target": "answer", "group_by": "concept"}
    return _build(lambda: _ask_chunks(path), "emoji-ask", sha256_file(path), cache, defaults)


def _ask_chunks(path: Path) -> Iterator[Chunk]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=512, use_threads=False):
            rows = batch.num_rows
            thrice = pa.array(np.repeat(np.arange(rows), len(QUESTIONS)))
            columns = {"picture": canonical(batch.column("picture"), "picture").take(thrice)}
            answers = zip(*(batch.column(kind).to_pylist() for kind in QUESTIONS), strict=True)
            columns["question"] = pa.array([*QUESTIONS.values()] * rows, pa.large_string())
            columns["answer"] = pa.array([answer for row in answers for answer in row], pa.large_string())
            columns["kind"] = pa.array([*QUESTIONS] * rows, pa.large_string())
            for name in ("concept", "id"):
                columns[name] = canonical(batch.column(name), name).take(thrice)
            yield Chunk(0, columns, rows * len(QUESTIONS))


def emoji_dialogue(cache: Path) -> Source:
    """2,800 conversations about emoji, half of them spoken; voices, ways to ask and concepts of the test part are its own."""
    from sensorium.data.bundled.dialogue import COUNTS, chunks

    path = assets.locate("emoji") / "emoji.parquet"
    defaults = {"messages": "messages", "group_by": "concept", "split": "split"}
    print_ = f"{sha256_file(path)} emoji-dialogue 2 {COUNTS}"
    return _build(lambda: chunks(path), "emoji-dialogue", print_, cache, defaults)


def emoji_names(cache: Path) -> Source:
    """The names of every emoji in 26 languages, a column each, beside its picture; a concept stays in one split."""
    from sensorium.data.bundled.names import chunks, languages

    path = assets.locate("emoji") / "emoji.parquet"
    tags = languages(path)
    inputs = dict.fromkeys(tags[:1] + tags[2:], "text") | {"picture": "image"}
    defaults = {"inputs": inputs, "target": tags[1], "group_by": "concept", "languages": tags, "by": ["group"]}
    return _build(lambda: chunks(path), "emoji-names", f"{sha256_file(path)} emoji-names 1", cache, defaults)


def emoji_draw(cache: Path) -> Source:
    """Names with their pictures, and edits with what they start from; combinations and concepts are held out."""
    from sensorium.data.bundled.drawing_pairs import chunks

    folder = assets.locate("emoji")
    hashes = " ".join(sha256_file(folder / f"{name}.parquet") for name in ("emoji", "variants"))
    inputs = {"prompt": "text", "picture": "image", "source": "image"}
    defaults = {
        "inputs": inputs,
        "group_by": "concept",
        "split": "split",
        "by": ["held_out"],
        "prompt_languages": ["en"],
    }
    return _build(lambda: chunks(folder), "emoji-draw", f"{hashes} emoji-draw 1", cache, defaults)


def emoji_pictures(cache: Path) -> Source:
    """3,781 pictures, every skin tone among them, parted as ``emoji-draw`` is; for the tokenizer of pictures."""
    from sensorium.data.bundled.drawings import chunks

    folder = assets.locate("emoji")
    hashes = " ".join(sha256_file(folder / f"{name}.parquet") for name in ("emoji", "variants"))
    defaults = {"inputs": {"picture": "image"}, "group_by": "concept", "split": "split", "by": ["held_out"]}
    return _build(lambda: chunks(folder), "emoji-pictures", f"{hashes} emoji-pictures 1", cache, defaults)


def digits(cache: Path) -> Source:
    """1,797 handwritten digits of scikit-learn, 8 × 8 grey values shown at 32 × 32 pixels."""
    defaults = {"inputs": {"image": "image"}, "target": "label"}
    return _build(_digit_chunks, "digits", "digits 1", cache, defaults)


def _digit_chunks() -> Iterator[Chunk]:
    pictures, labels = _handwritten()
    data = [png(np.kron(picture, np.ones((4, 4)))) for picture in pictures]
    yield Chunk(0, {"image": _bytes(data), "label": from_values(labels.tolist())}, len(labels))


def spoken_digits(
    cache: Path, rows: int = 1500, picture_noise: float = 0.2, snr: tuple[float, float] = (-15.0, 0.0), seed: int = 0
) -> Source:
    """Handwritten digits beside spoken ones, both noisy, so that each alone is not enough.

    Args:
        picture_noise: standard deviation of the grey values' noise; ink is 1, paper 0.
        snr: the sounds' range of signal-to-noise ratios in dB, drawn uniformly.
        seed: of every choice; the same arguments give the same bytes.
    """
    defaults = {"inputs": {"picture": "image", "sound": "audio"}, "target": "digit", "group_by": "voice"}
    print_ = f"spoken-digits 1 {rows} {picture_noise} {snr} {seed}"
    return _build(lambda: _spoken_chunks(rows, picture_noise, snr, seed), "spoken-digits", print_, cache, defaults)


def _spoken_chunks(rows: int, picture_noise: float, snr: tuple[float, float], seed: int) -> Iterator[Chunk]:
    pictures, labels = _handwritten()
    rng = np.random.default_rng([seed, 7])
    order = rng.permutation(len(labels))
    chosen = np.resize(order, rows)
    for start in range(0, rows, 256):
        told: dict[str, list[Any]] = {name: [] for name in ("picture", "sound", "digit", "voice", "snr_db")}
        for row in range(start, min(start + 256, rows)):
            rng = np.random.default_rng([seed, 7, row])
            digit = int(labels[chosen[row]])
            voice = VOICES[int(rng.integers(len(VOICES)))]
            ratio = float(rng.uniform(*snr))
            told["picture"].append(_noisy_picture(pictures[chosen[row]], picture_noise, rng))
            told["sound"].append(_noisy_word(WORDS[digit], voice, ratio, rng))
            told["digit"].append(digit)
            told["voice"].append(voice)
            told["snr_db"].append(round(ratio, 1))
        media = {"picture": _bytes(told["picture"]), "sound": _bytes(told["sound"])}
        others = {name: from_values(told[name]) for name in ("digit", "voice", "snr_db")}
        yield Chunk(0, media | others, len(told["digit"]))


def _noisy_picture(picture: np.ndarray, noise: float, rng: np.random.Generator) -> bytes:
    """A digit of 8 × 8 at 16 × 16 under noise of that grain, shown at 32 × 32."""
    fine = np.kron(picture, np.ones((2, 2)))
    return png(np.kron(fine + rng.normal(0, noise, fine.shape), np.ones((2, 2))))


def _noisy_word(word: str, voice: str, ratio: float, rng: np.random.Generator) -> bytes:
    """A word by a voice at some speed and pitch, somewhere in about a second of white noise; WAV at 16 kHz."""
    import soundfile
    import soxr

    from sensorium.assets.speech import synthesise

    speed, pitch = int(rng.integers(*SPEEDS)), int(rng.integers(*PITCHES))
    samples, rate = synthesise(word, voice, speed, pitch)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    spoken = soxr.resample(samples[loud[0] : loud[-1] + 1] if len(loud) else samples, rate, RATE)
    before, after = rng.integers(RATE // 20, RATE // 4, 2)
    clean = np.concatenate([np.zeros(before), spoken, np.zeros(after)])
    power = float(np.mean(spoken**2))
    noisy = clean + rng.normal(0, np.sqrt(power / 10 ** (ratio / 10)), len(clean))
    file = io.BytesIO()
    soundfile.write(file, noisy / np.abs(noisy).max() * 0.9, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _handwritten() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits: ink (1797, 8, 8) from 0 to 1, and labels (1797,)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images / 16, found.target


def png(ink: np.ndarray) -> bytes:
    """Ink (height, width) from 0 to 1, cut to that range, as a grey PNG: dark on white."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.round(255 * (1 - np.clip(ink, 0, 1))).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _bytes(data: list[bytes]) -> pa.Array:
    return pa.array([{"bytes": one, "path": None} for one in data], MEDIA)


def _build(
    read: Callable[[], Iterator[Chunk]], name: str, print_: str, cache: Path, defaults: dict[str, Any]
) -> Source:
    return build(read, name, print_, cache, names=[name], kind=name, defaults=defaults)


BUNDLED: dict[str, Callable[[Path], Source]] = {
    "digits": digits,
    "emoji": emoji,
    "emoji-ask": emoji_ask,
    "emoji-dialogue": emoji_dialogue,
    "emoji-draw": emoji_draw,
    "emoji-names": emoji_names,
    "emoji-pictures": emoji_pictures,
    "spoken-digits": spoken_digits,
}
