"""Speech recognition: Whisper transcribes a sound, through faster-whisper and CTranslate2, whose weights an asset keeps.

What was heard is kept by the sound's content, in memory and, where a file is named, on disk: histories repeat sounds at
every turn, and training reads them in every epoch.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import RecipeError, first_line
from sensorium.modalities import audio
from sensorium.models.saving import put
from sensorium.run import sha256_file, sha256_text

FOLDER = "ctranslate2"  # beside an audio model's own weights, what CTranslate2 reads
NEEDED = ("model.bin", "config.json", "tokenizer.json")
SILENCE = 100  # frames of 10 ms behind a clip: Whisper wants to hear the end
SHORT_SECONDS = 20.0  # up to which a clip is heard at its own length, six times as fast as in Whisper's window of 30 s
MOST_TOKENS = 200  # of one clip: Whisper's own limit is 224
BEAM = 5
KEPT = 4096  # transcripts in memory
VERSION = 1  # of all above: another number makes transcripts on disk invisible


class Recogniser:
    """Sounds to English words. May be handed to other processes and threads; weights are read at the first sound.

    Args:
        folder: model.bin and its companions in CTranslate2's form.
        store: an SQLite file that keeps transcripts between processes; None: memory alone.

    Raises:
        RecipeError: a file is missing in ``folder``.
    """

    def __init__(self, folder: str | Path, store: str | Path | None = None) -> None:
        self.folder, self.store = Path(folder), None if store is None else Path(store)
        missing = [name for name in NEEDED if not (self.folder / name).is_file()]
        if missing:
            raise RecipeError(
                f"no {missing[0]}, so that speech cannot be recognised",
                where=f"model.audio: {self.folder.parent}",
                mend=f"set model.speech: features, or give a Whisper model with a folder {FOLDER}, as whisper-tiny.en has",
            )
        self._open()

    def _open(self) -> None:
        self._model: Any = None
        self._identity = ""
        self._heard: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "store": self.store}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    # -- hearing -----------------------------------------------------------------------------------

    def __call__(self, data: bytes) -> str:
        """What is said in the bytes of a sound file; empty where nothing is. Raises MediaError where it is no sound."""
        from sensorium.data.media import content_hash

        digest = content_hash(data)
        with self._lock:
            if digest in self._heard:
                self._heard.move_to_end(digest)
                return self._heard[digest]
        words = self._stored(digest)
        if words is None:
            words = self.transcribe(audio.decode(data))
            self._keep(digest, words)
        with self._lock:
            self._heard[digest] = words
            while len(self._heard) > KEPT:
                self._heard.popitem(last=False)
        return words

    def transcribe(self, samples: np.ndarray) -> str:
        """(samples,) float32 at 16 kHz, at most 30 s -> what is said. One clip at a time.

        A clip is heard at its own length. Whisper learned on windows of 30 s, and now and then repeats itself on a
        shorter one: such a clip is heard again in the whole window.
        """
        with self._lock:
            if self._model is None:
                self._model = _load(self.folder)
            mel = audio.log_mel(samples)
            if len(samples) <= SHORT_SECONDS * audio.RATE:
                words = _said(self._model, np.pad(mel, ((0, 0), (0, SILENCE)), constant_values=float(mel.min())))
                if not repeats(words):
                    return words
            return _said(self._model, np.pad(mel, ((0, 0), (0, max(0, 3000 - mel.shape[1])))))

    # -- keeping -----------------------------------------------------------------------------------

    def _key(self, digest: str) -> str:
        if not self._identity:
            self._identity = f"{sha256_file(self.folder / 'model.bin')} {VERSION} {BEAM} {SILENCE}"
        return sha256_text(f"{self._identity} {digest}")

    def _stored(self, digest: str) -> str | None:
        if self.store is None:
            return None
        try:
            with closing(_connect(self.store)) as known:
                row = known.execute("SELECT words FROM transcripts WHERE key = ?", (self._key(digest),)).fetchone()
        except sqlite3.Error:  # a damaged or locked file costs time, never an answer
            return None
        return None if row is None else str(row[0])

    def _keep(self, digest: str, words: str) -> None:
        if self.store is None:
            return
        try:
            with closing(_connect(self.store)) as known, known:
                known.execute("INSERT OR REPLACE INTO transcripts VALUES (?, ?)", (self._key(digest), words))
        except (sqlite3.Error, OSError):  # as above
            return

    def save(self, folder: str | Path) -> None:
        """Put the weights into ``folder`` (linked where that is possible), to be opened from there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(self.folder.iterdir()):
            if file.is_file():
                put(file, folder / file.name)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    known = sqlite3.connect(path, timeout=30)
    known.execute("CREATE TABLE IF NOT EXISTS transcripts (key TEXT PRIMARY KEY, words TEXT NOT NULL)")
    return known


def _load(folder: Path) -> Any:
    from faster_whisper import WhisperModel

    threads = int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count() or 1
    try:
        return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True)
    except Exception as error:  # a damaged or foreign folder: libraries raise whatever they like
        what = f"speech recognition cannot be opened ({first_line(error)})"
        raise RecipeError(what, where=str(folder), mend="sensorium assets pull whisper-tiny.en") from error


def _said(model: Any, mel: np.ndarray) -> str:
    """(80, frames) -> words: greedy-like beam search without timestamps (Radford et al. 2022)."""
    from ctranslate2 import StorageView
    from faster_whisper.tokenizer import Tokenizer

    multilingual = bool(model.model.is_multilingual)
    words = Tokenizer(model.hf_tokenizer, multilingual, *(["transcribe", "en"] if multilingual else []))
    prompt = [*words.sot_sequence, words.no_timestamps]
    features = StorageView.from_array(np.ascontiguousarray(mel[None], dtype=np.float32))
    found = model.model.generate(features, [prompt], beam_size=BEAM, max_length=MOST_TOKENS)
    return str(words.decode(found[0].sequences_ids[0])).strip()


def repeats(text: str) -> bool:
    """Whether a stretch of at least three words comes twice in a row."""
    words = ["".join(filter(str.isalnum, word)) for word in text.lower().split()]
    return any(
        words[i : i + n] == words[i + n : i + 2 * n]
        for n in range(3, len(words) // 2 + 1)
        for i in range(len(words) - 2 * n + 1)
    )
