"""Small tables with pictures and sounds, made for tests: colours of squares, pitches of tones."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 190, 60), "blue": (40, 60, 220)}
TONES = {"red": 220.0, "green": 660.0, "blue": 1980.0}  # Hz


def picture(colour: str, rng: np.random.Generator, size: int = 32) -> bytes:
    """A noisy square of one colour, PNG."""
    pixels = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 25, (size, size, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tone(colour: str, rng: np.random.Generator, seconds: float = 0.3) -> bytes:
    """A noisy tone, WAV at 16 kHz."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    samples = 0.4 * np.sin(2 * np.pi * TONES[colour] * time) + rng.normal(0, 0.02, len(time))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


def mixed_table(folder: Path, rows: int = 60, missing: float = 0.0, seed: int = 0) -> Path:
    """``t.csv`` with picture, sound, text, number, category and target ``y``; a share of cells left empty."""
    rng = np.random.default_rng(seed)
    (folder / "media").mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(rows):
        colour = list(COLOURS)[i % 3]
        (folder / f"media/{i}.png").write_bytes(picture(colour, rng))
        (folder / f"media/{i}.wav").write_bytes(tone(colour, rng))
        cells = {
            "picture": f"media/{i}.png",
            "sound": f"media/{i}.wav",
            "words": f"a thing number {i} that looks {colour} from here",
            "size": f"{rng.normal(list(COLOURS).index(colour), 0.3):.3f}",
            "shop": ["north", "south", "east"][int(rng.integers(3))],
        }
        lines.append({name: "" if rng.random() < missing else cell for name, cell in cells.items()} | {"y": colour})
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return folder / "t.csv"


def questions_table(folder: Path, rows: int = 45, seed: int = 0) -> Path:
    """``ask.jsonl``: picture, question, answer; two questions a picture, one with few answers, one free."""
    import json

    rng = np.random.default_rng(seed)
    (folder / "media").mkdir(parents=True, exist_ok=True)
    out = []
    for i in range(rows):
        colour = list(COLOURS)[i % 3]
        (folder / f"media/{i}.png").write_bytes(picture(colour, rng))
        shared = {"picture": f"media/{i}.png"}
        out.append(shared | {"question": "which colour?", "answer": colour})
        out.append(shared | {"question": "say it twice", "answer": f"{colour} {colour} {i}"})
    path = folder / "ask.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in out), encoding="utf-8")
    return path
