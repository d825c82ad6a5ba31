"""A pretrained model, the one before, and what simpler methods reach, on held-out documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from sensorium.data.collate import collate
from sensorium.jobs.pretraining_data import Window
from sensorium.models.pretraining import PretrainingModel
from sensorium.tasks.pretrain import window_sequence


@torch.inference_mode()
def foretold(
    model: PretrainingModel, windows: Sequence[Window], documents: int, size: int, pad_id: int
) -> dict[str, np.ndarray]:
    """Nats and tokens (documents,) of each document, every token foretold once from those before it."""
    nats, tokens = np.zeros(documents), np.zeros(documents)
    for start in range(0, len(windows), size):
        some = windows[start : start + size]
        batch = collate([window_sequence(w.ids, w.positions, w.branches, 0) for w in some], pad_id)
        logits = model({"causal_lm": batch})["causal_lm"].float()
        lost = nn.functional.cross_entropy(logits, batch.answers, reduction="none").double().numpy()
        owners = np.array([document for w in some for document in w.documents])[batch.owners.numpy()]
        np.add.at(nats, owners, lost)
        np.add.at(tokens, owners, 1.0)
    return {"nats": nats, "tokens": tokens}


def unigram(train: Sequence[np.ndarray], test: Sequence[np.ndarray], vocabulary: int) -> dict[str, np.ndarray]:
    """The same of a model that knows how often each token comes and nothing else (one is added to every count)."""
    counts = np.ones(vocabulary)
    for document in train:
        np.add.at(counts, document[1:], 1)
    cost = np.log(counts.sum()) - np.log(counts)
    found = [(cost[document[1:]].sum(), len(document) - 1) for document in test]
    return {"nats": np.array([n for n, _ in found]), "tokens": np.array([t for _, t in found], dtype=np.float64)}
