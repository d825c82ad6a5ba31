"""Text that is made up, of any size, and the memory that reading it takes: what ``pretraining_speed`` trains and measures on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


def made_up(path: Path, megabytes: int, words: int = 20_000) -> None:
    """Documents of words with Zipf's frequencies, 20 to 2,000 of them, in sentences, parted by blank lines."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    known = np.array(["".join(rng.choice(letters[:20], size)) for size in rng.integers(2, 11, words)])
    chances = 1 / np.arange(1, words + 1)
    chances /= chances.sum()
    left = megabytes * 1_000_000
    with open(path, "w", encoding="utf-8") as file:
        while left > 0:
            counts = np.minimum(2_000, 20 + rng.pareto(1.2, 200) * 60).astype(int)
            drawn = known[rng.choice(words, counts.sum(), p=chances)].tolist()
            for end, count in zip(np.cumsum(counts).tolist(), counts.tolist()):
                mine = drawn[end - count : end]
                text = " ".join(" ".join(mine[at : at + 12]).capitalize() + "." for at in range(0, count, 12))
                file.write(text + "\n\n")
                left -= len(text) + 2
                if left <= 0:
                    return


def memory(root: Path, megabytes: int) -> dict[str, Any]:
    """Text to shards, windows, and an epoch's order of them; the most memory of the process meanwhile."""
    from sensorium.data.sources import files_fingerprint
    from sensorium.data.text.documents import Documents
    from sensorium.data.text.packing import packed
    from sensorium.data.text.stream import tokenised
    from sensorium.models.language.tokenizer_training import train_tokenizer
    from sensorium.recipe import SplitRecipe
    from sensorium.training.batches import BatchPlan

    path, split = root / "text.txt", SplitRecipe(validation=0.01, test=0.01)
    made_up(path, megabytes)
    documents = Documents([path])
    first = [text for text, _ in zip(documents, range(300))]
    tokenizer = train_tokenizer(first, 8000, ["<pad>", "<s>", "</s>"])
    began = time.process_time()
    with Watched() as watched:
        corpus = tokenised(documents, files_fingerprint([path], []), tokenizer, root / "cache")
        windows = packed(corpus, 256, split, "train")
        plan = BatchPlan(windows.lengths, 32, 32)
        for step in range(min(plan.steps, 200)):
            assert all(len(windows[int(unit)].ids) for unit in plan.epoch(0).micro_batch(step, 0)[:1])
    return {
        "documents": len(corpus),
        "tokens": corpus.tokens,
        "windows": len(windows),
        "start_mb": watched.start,
        "most_mb": watched.most,
        "cpu_seconds": time.process_time() - began,
    }


class Watched:
    """The most memory of its own that this process held, in MB: anonymous pages, not those of mapped files."""

    def __enter__(self) -> Watched:
        self.start = self.most = _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, _anonymous())


def _anonymous() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))
