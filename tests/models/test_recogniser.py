"""Speech recognition: refused where it cannot be, heard once a content, and right on a spoken question."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sensorium import assets
from sensorium.errors import MediaError, RecipeError
from sensorium.models import recogniser as room
from sensorium.models.recogniser import FOLDER, Recogniser, repeats


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


NOISE = wav(np.random.default_rng(0).normal(0, 0.1, 8000))
OTHER = wav(np.random.default_rng(1).normal(0, 0.1, 8000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a model; nothing reads it."""
    made = tmp_path / "whisper" / FOLDER
    made.mkdir(parents=True)
    for name in room.NEEDED:
        (made / name).write_bytes(name.encode())
    return made


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of every mel spectrogram that the stand-in for Whisper was given."""
    frames: list[int] = []

    def said(model: Any, mel: np.ndarray) -> str:
        frames.append(mel.shape[1])
        return f"clip {len(frames)}"

    monkeypatch.setattr(room, "_load", lambda folder: "model")
    monkeypatch.setattr(room, "_said", said)
    return frames


def test_a_folder_without_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.audio.*no model\.bin.*model\.speech: features"):
        Recogniser(tmp_path / FOLDER)


def test_damaged_weights_are_refused_in_one_line(folder: Path) -> None:
    with pytest.raises(RecipeError, match="speech recognition cannot be opened"):
        Recogniser(folder)(NOISE)


def test_each_content_is_heard_once(folder: Path, heard: list[int]) -> None:
    recognise = Recogniser(folder)
    assert [recognise(NOISE), recognise(OTHER), recognise(NOISE)] == ["clip 1", "clip 2", "clip 1"]
    assert len(heard) == 2


def test_what_was_heard_is_known_to_the_next_process_where_a_store_is_named(folder: Path, heard: list[int]) -> None:
    store = folder.parent / "known" / "transcripts.sqlite"
    assert Recogniser(folder, store)(NOISE) == Recogniser(folder, store)(NOISE) == "clip 1"
    assert Recogniser(folder)(NOISE) == "clip 2"  # no store: nothing is written or read
    (folder / "model.bin").write_bytes(b"other weights")
    assert Recogniser(folder, store)(NOISE) == "clip 3"


def test_a_damaged_store_costs_time_and_no_answer(folder: Path, heard: list[int]) -> None:
    store = folder.parent / "transcripts.sqlite"
    store.write_bytes(b"this is no database at all" * 100)
    assert Recogniser(folder, store)(NOISE) == "clip 1" and Recogniser(folder, store)(NOISE) == "clip 2"


def test_memory_holds_the_latest(folder: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT", 1)
    recognise = Recogniser(folder)
    assert [recognise(NOISE), recognise(OTHER), recognise(NOISE)] == ["clip 1", "clip 2", "clip 3"]


def test_a_copy_in_another_process_hears_alike(folder: Path, heard: list[int]) -> None:
    recognise = Recogniser(folder, folder.parent / "t.sqlite")
    recognise(NOISE)
    assert pickle.loads(pickle.dumps(recognise))(NOISE) == "clip 1"


def test_what_is_no_sound_is_refused(folder: Path, heard: list[int]) -> None:
    with pytest.raises(MediaError):
        Recogniser(folder)(b"no sound")
    assert not heard


def test_a_short_clip_is_heard_at_its_own_length_and_in_the_whole_window_where_it_repeats(
    folder: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recognise = Recogniser(folder)
    recognise.transcribe(np.ones(16_000, np.float32))
    recognise.transcribe(np.ones(25 * 16_000, np.float32))
    assert heard == [100 + room.SILENCE, 3000]
    monkeypatch.setattr(room, "_said", lambda model, mel: "what is it " * (3 if mel.shape[1] < 3000 else 1))
    assert recognise.transcribe(np.ones(16_000, np.float32)) == "what is it "


def test_repeats() -> None:
    assert repeats("What is this? What is this?") and repeats("so what is this, what is this")
    assert not repeats("what is this and what is that") and not repeats("no no no") and not repeats("")


def test_saved_weights_are_the_same(folder: Path, tmp_path: Path) -> None:
    Recogniser(folder).save(tmp_path / "run")
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()} == {
        f.name: f.read_bytes() for f in folder.iterdir()
    }


@pytest.mark.real
def test_a_spoken_question_word_for_word() -> None:
    import soxr

    from sensorium.assets.speech import synthesise

    recognise = Recogniser(assets.locate("whisper-tiny.en") / FOLDER)
    for question in ("What is the title of this image?", "Are both images in the same class?"):
        samples, rate = synthesise(question, "en-us+m1", 140)
        found = recognise(wav(soxr.resample(samples, rate, 16_000)))
        assert found.lower().strip(" .?") == question.lower().strip("?")
