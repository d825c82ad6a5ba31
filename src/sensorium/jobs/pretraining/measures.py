"""A pretrained model on held-out documents or rows, and what simpler methods reach there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.data.collate import Batch, collate
from sensorium.data.text.words import token_bytes
from sensorium.jobs.pretraining.readers import Captions, Following, Masked, Reader
from sensorium.jobs.pretraining.units import Units
from sensorium.metrics.language import ranks_of_partners
from sensorium.models.language.pretraining import MEDIA, PretrainingModel
from sensorium.objectives.contrastive import similarities
from sensorium.objectives.matching import Pairs
from sensorium.tasks.pretrain import Pretrain

Columns = dict[str, np.ndarray]


@dataclass
class HeldOut:
    """A part that is measured on.

    Attributes:
        numbers: (units,) documents or rows that figures are kept by, in order.
        readers: of each objective.
        bytes_of: (vocabulary,) UTF-8 bytes that each token stands for, 0 of special ones.
        size: sequences in one forward pass; pad_id: what fills up shorter ones.
    """

    numbers: np.ndarray
    readers: dict[str, Reader]
    bytes_of: np.ndarray
    size: int
    pad_id: int

    @classmethod
    def of(cls, numbers: np.ndarray, readers: dict[str, Reader], tokenizer: Any, size: int, pad_id: int) -> HeldOut:
        bytes_of = np.array([len(piece) for piece in token_bytes(tokenizer)], dtype=np.float64)
        bytes_of[list(tokenizer.all_special_ids)] = 0
        return cls(numbers, readers, bytes_of, size, pad_id)

    def batches(self, name: str) -> Iterator[tuple[np.ndarray, Batch]]:
        """The reader's sequences in order, as of epoch 0: the unit of each answer, and the batch."""
        reader = self.readers[name]
        for start in range(0, len(reader), self.size):
            places = range(start, min(start + self.size, len(reader)))
            sequences = [reader[(0, place)] for place in places]
            owners = [reader.units(place)[: s.answers_count] for place, s in zip(places, sequences, strict=True)]
            batch = collate(sequences, self.pad_id)
            yield np.searchsorted(self.numbers, np.concatenate(owners)[batch.owners.numpy()]), batch

    def sums(self, names: Sequence[str]) -> Columns:
        return {name: np.zeros(len(self.numbers)) for name in names}


def touched(columns: Columns) -> np.ndarray:
    """(units,) whether anything was measured on each."""
    counts = [columns[name] for name in ("tokens", "masked", "next", "rank") if name in columns]
    return np.asarray(np.stack(counts).sum(0) > 0)


@torch.inference_mode()
def loss_of(model: PretrainingModel, task: Pretrain, readers: dict[str, Reader], batch_size: int) -> dict[str, float]:
    """The weighted loss, and each objective's own, over the readers' first epoch in shuffled batches of training's size."""
    units, device = Units(readers), model.device
    sums: dict[str, list[float]] = {}
    order = np.random.default_rng(0).permutation(len(units))
    for start in range(0, len(units), batch_size):
        torch.manual_seed(start)  # of the pairs that matching draws
        batch = task.collate([units[(0, int(place))] for place in order[start : start + batch_size]]).to(device)
        for name, loss in task.losses(model, batch).items():
            entry = sums.setdefault(name, [0.0, 0.0])
            entry[0], entry[1] = entry[0] + float(loss.total), entry[1] + loss.count
    means = {name: total / max(count, 1) for name, (total, count) in sums.items()}
    return {"loss": sum(task.weights[name] * mean for name, mean in means.items())} | means


@torch.inference_mode()
def measured(model: PretrainingModel, held: HeldOut) -> Columns:
    """Columns (units,) of ``metrics.language``, as far as the readers go."""
    found: Columns = {}
    for name in held.readers:
        if name == "causal_lm":
            found |= _foretold(model, held)
        elif name == "masked_lm":
            found |= _named(model, held)
        elif name == "next_sentence":
            found |= _followed(model, held)
        elif name == MEDIA:
            found |= _retrieved(model, held)
    return found


def _foretold(model: PretrainingModel, held: HeldOut) -> Columns:
    """Every token from those before it."""
    found = held.sums(("nats", "tokens", "bytes"))
    for units, batch in held.batches("causal_lm"):
        lost, _ = _answered(model, "causal_lm", batch)
        add(found, units, nats=lost, tokens=np.ones(len(lost)), bytes=held.bytes_of[batch.answers.numpy()])
    return found


def _named(model: PretrainingModel, held: HeldOut) -> Columns:
    """Hidden tokens; the sentinels that end spans are taught, but not counted."""
    reader = held.readers["masked_lm"]
    found = held.sums(("masked_nats", "masked_right", "masked"))
    for units, batch in held.batches("masked_lm"):
        lost, right = _answered(model, "masked_lm", batch)
        kept = counted(reader, batch)
        add(found, units[kept], masked_nats=lost[kept], masked_right=right[kept], masked=np.ones(kept.sum()))
    return found


def add(columns: Columns, units: np.ndarray, **values: np.ndarray) -> None:
    """Add (answers,) ``values`` to their units' sums."""
    for name, of in values.items():
        np.add.at(columns[name], units, of)


def counted(reader: Reader, batch: Batch) -> np.ndarray:
    """(answers,) whether an answer is a hidden token rather than a sentinel."""
    sentinels = reader.vocabulary.sentinels if isinstance(reader, Masked) else np.zeros(0)
    return ~np.isin(batch.answers.numpy(), sentinels)


def _answered(model: PretrainingModel, name: str, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Nats of each answer, and whether it is the likeliest token; (answers,) float64."""
    logits = model({name: batch.to(model.device)})[name].float().cpu()
    lost = nn.functional.cross_entropy(logits, batch.answers, reduction="none")
    return lost.double().numpy(), (logits.argmax(-1) == batch.answers).double().numpy()


def _followed(model: PretrainingModel, held: HeldOut) -> Columns:
    """Pairs judged rightly; a causal model judges that of a true and a wrong second sentence the likelier one follows."""
    reader = held.readers["next_sentence"]
    assert isinstance(reader, Following)
    found = held.sums(("next_right", "next"))
    for start in range(0, len(reader), held.size):
        places = range(start, min(start + held.size, len(reader)))
        units = np.searchsorted(held.numbers, np.concatenate([reader.units(place) for place in places]))
        if model.bidirectional:
            batch = collate([reader[(0, place)] for place in places], held.pad_id).to(model.device)
            says = model({"next_sentence": batch})["next_sentence"] > 0
            right = (says == (batch.targets > 0)).cpu().double().numpy()
        else:
            true, wrong = (_mean_nats(model, reader, places, follows, held.pad_id) for follows in (True, False))
            right = (true < wrong).astype(np.float64)
        add(found, units, next_right=right, next=np.ones(len(right)))
    return found


def _mean_nats(model: PretrainingModel, reader: Following, places: range, follows: bool, pad_id: int) -> np.ndarray:
    """(places,) nats of a token of the second sentence given the first, on average."""
    batch = collate([reader.pair(place, follows) for place in places], pad_id)
    lost, _ = _answered(model, "next_sentence", batch)
    owners = batch.owners.numpy()
    counts = np.bincount(owners, minlength=len(places)).clip(min=1)
    return np.asarray(np.bincount(owners, lost, len(places)) / counts)


def _retrieved(model: PretrainingModel, held: HeldOut) -> Columns:
    """Ranks of partners among all held-out rows, and whether right and wrong pairs are told apart."""
    reader = held.readers[MEDIA]
    assert isinstance(reader, Captions)
    texts, media, right = [], [], []
    for start in range(0, len(reader), held.size):
        places = range(start, min(start + held.size, len(reader)))
        batch = collate([reader[(0, place)] for place in places], held.pad_id).to(model.device)
        vectors = model.aligned(batch)
        texts.append(vectors.texts.cpu())
        media.append(vectors.media.cpu())
        if "matching" in model.objectives:
            right.append(_told_apart(model, batch))
    scores = similarities(torch.cat(texts), torch.cat(media), model.log_scale.detach().cpu()).numpy()
    found = {"rank": ranks_of_partners(scores, reader.groups), "text_rank": ranks_of_partners(scores.T, reader.groups)}
    if right:
        sums = torch.cat(right).double().numpy()
        found |= {"matching_right": sums[:, 0], "matching": sums[:, 1]}
    columns = held.sums(tuple(found))
    for name, values in found.items():
        columns[name][np.searchsorted(held.numbers, reader.rows)] = values
    return columns


def _told_apart(model: PretrainingModel, batch: Batch) -> Tensor:
    """(rows, 2): right judgements and judgements of each text with its own medium and with the next row's, if it differs."""
    n, groups = len(batch.rows), batch.targets
    own = torch.arange(n, device=groups.device)
    other = own.roll(-1)
    shown = Pairs(own.repeat(2), torch.cat([own, other]), torch.cat([torch.ones(n), torch.zeros(n)]).to(groups.device))
    says = model.matched(batch, shown).log_odds > 0
    differs = (groups != groups[other]).float()
    return torch.stack([says[:n].float() + (~says[n:]).float() * differs, 1 + differs], 1).cpu()


# -- what is reached without a model -----------------------------------------------------------------


def unigram(counts: np.ndarray, held: HeldOut) -> Columns:
    """What a model reaches that knows how often each token comes and nothing else (one is added to each count).

    Args:
        counts: (vocabulary,) of the training texts.
    """
    counts = counts + 1
    cost, found = np.log(counts.sum()) - np.log(counts), Columns()
    if "causal_lm" in held.readers:
        found = held.sums(("nats", "tokens", "bytes"))
        for units, batch in held.batches("causal_lm"):
            answers = batch.answers.numpy()
            add(found, units, nats=cost[answers], tokens=np.ones(len(answers)), bytes=held.bytes_of[answers])
    reader = held.readers.get("masked_lm")
    if isinstance(reader, Masked):
        likeliest = np.where(reader.vocabulary.special, 0, counts).argmax()
        found |= held.sums(("masked_nats", "masked_right", "masked"))
        for units, batch in held.batches("masked_lm"):
            kept = counted(reader, batch)
            answers, units = batch.answers.numpy()[kept], units[kept]
            right = (answers == likeliest).astype(np.float64)
            add(found, units, masked_nats=cost[answers], masked_right=right, masked=np.ones(len(answers)))
    return found


def chance(columns: Columns) -> Columns:
    """What drawing blindly reaches on the same units: the expected share of right answers of each kind."""
    found: Columns = {}
    for right, count in (("next_right", "next"), ("matching_right", "matching")):
        if right in columns:
            found |= {right: columns[count] / 2, count: columns[count]}
    for name in ("rank", "text_rank"):
        if name in columns:  # a permutation of the places: each is as likely as any other
            there = np.flatnonzero(columns[name])
            found[name] = np.zeros(len(columns[name]))
            found[name][there] = np.random.default_rng(0).permutation(len(there)) + 1.0
    return found
