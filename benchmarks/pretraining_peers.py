"""The peers of ``pretraining_speed``: nanoGPT's way of training, and ``transformers.Trainer``, on the model that is given.

Both read the tokens that Sensorium's run reads, written one after another as nanoGPT's ``prepare.py`` does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

Stamp = Callable[[], None]  # called after every step


def nanogpt(model: nn.Module, tokens: Path, steps: int, batch: int, window: int, bf16: bool, stamp: Stamp) -> None:
    """The loop of nanoGPT's ``train.py`` on one process: random places of a memory map, autocast, AdamW, clipping.

    ``model`` is Sensorium's, so that only the way of training differs; documents run on into each other.
    """
    rng = torch.Generator().manual_seed(0)
    grouped = [[p for p in model.parameters() if (p.dim() >= 2) is decays] for decays in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": grouped[0], "weight_decay": 0.1}, {"params": grouped[1], "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
    )
    model.train()
    for _ in range(steps):
        data = np.memmap(tokens, dtype=np.uint16, mode="r")  # anew each time, as there, against a leak
        places = torch.randint(len(data) - window, (batch,), generator=rng)
        x, y = (
            torch.stack([torch.from_numpy(data[i + shift : i + shift + window].astype(np.int64)) for i in places])
            for shift in (0, 1)
        )
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            logits = model(input_ids=x, use_cache=False).logits
            loss = nn.functional.cross_entropy(logits.view(-1, logits.size(-1)), y.view(-1), ignore_index=-1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        stamp()


def trainer(
    model: nn.Module,
    tokens: Path,
    ends: Path,
    steps: int,
    batch: int,
    window: int,
    bf16: bool,
    padded: bool,
    out: Path,
    stamp: Stamp,
) -> int:
    """``transformers.Trainer`` with its defaults: the tokens in blocks, as ``run_clm.py`` cuts them, or a document a row.

    Args:
        ends: (documents + 1,) int64, where each document begins among the tokens.
        padded: a document a row, cut to the window and padded to the longest of its batch: documents do not see each other.

    Returns:
        Tokens that were no padding.
    """
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Stamps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamp()

    data = np.memmap(tokens, dtype=np.uint16, mode="r")
    rows = _documents(data, np.load(ends), window) if padded else _blocks(data, window)
    chosen = list(itertools.islice(rows, steps * batch))
    read = 0

    def collate(items: list[np.ndarray]) -> dict[str, torch.Tensor]:
        nonlocal read
        read += sum(map(len, items))
        longest = max(map(len, items))
        ids = torch.zeros(len(items), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for i, item in enumerate(items):
            ids[i, : len(item)] = labels[i, : len(item)] = torch.from_numpy(item)
            mask[i, : len(item)] = 1
        made = {"input_ids": ids, "labels": labels}
        return made | {"attention_mask": mask} if padded else made

    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=batch,
        max_steps=steps,
        learning_rate=1e-3,
        weight_decay=0.1,
        bf16=bf16,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=10,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    made = Trainer(model=model, args=arguments, train_dataset=chosen, data_collator=collate, callbacks=[Stamps()])
    made.train()
    return read


def _blocks(data: np.ndarray, window: int) -> Iterator[np.ndarray]:
    return (data[at : at + window].astype(np.int64) for at in range(0, len(data) - window, window))


def _documents(data: np.ndarray, starts: np.ndarray, window: int) -> Iterator[np.ndarray]:
    for start, end in itertools.pairwise(starts.tolist()):
        yield data[start : min(end, start + window)].astype(np.int64)
