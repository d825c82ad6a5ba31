"""A pretrained model on held-out documents or rows, and what simpler methods reach there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.data.collate import Batch, collate
from sensorium.jobs.pretraining_readers import Captions, Masked, Reader, Units
from sensorium.metrics.language import ranks_of_partners
from sensorium.models.pretraining import MEDIA, PretrainingModel
from sensorium.objectives.contrastive import similarities
from sensorium.objectives.matching import Pairs
from sensorium.tasks.pretrain import Pretrain

Columns = dict[str, np.ndarray]


@dataclass
class HeldOut:
    """A part that is measured on.

    Attributes:
        units: documents or rows that figures are kept by.
        readers: of each objective, and of the causal language model wherever the model can foretell.
        size: sequences in one forward pass; pad_id: what fills up shorter ones.
    """

    units: int
    readers: dict[str, Reader]
    size: int
    pad_id: int

    def batches(self, name: str) -> Iterator[tuple[np.ndarray, Batch]]:
        """The reader's sequences in order, as of epoch 0: the unit of each answer's owner, and the batch."""
        reader = self.readers[name]
        for start in range(0, len(reader), self.size):
            places = range(start, min(start + self.size, len(reader)))
            sequences = [reader[(0, place)] for place in places]
            units = [reader.units(place)[: s.answers_count] for place, s in zip(places, sequences, strict=True)]
            yield np.concatenate(units), collate(sequences, self.pad_id)


@torch.inference_mode()
def loss_of(model: PretrainingModel, task: Pretrain, readers: dict[str, Reader], batch_size: int) -> dict[str, float]:
    """The weighted loss, and each objective's own, over the readers' first epoch in batches as training has them."""
    units, device = Units(readers), model.device
    sums: dict[str, list[float]] = {}
    for start in range(0, len(units), batch_size):
        places = range(start, min(start + batch_size, len(units)))
        torch.manual_seed(start)  # of the pairs that matching draws
        batch = task.collate([units[(0, place)] for place in places]).to(device)
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
        elif name == MEDIA:
            found |= _retrieved(model, held)
    return found


def _foretold(model: PretrainingModel, held: HeldOut) -> Columns:
    """Every token from those before it."""
    nats, tokens = np.zeros(held.units), np.zeros(held.units)
    for units, batch in held.batches("causal_lm"):
        lost, _ = _answered(model, "causal_lm", batch)
        owners = units[batch.owners.numpy()]
        np.add.at(nats, owners, lost)
        np.add.at(tokens, owners, 1.0)
    return {"nats": nats, "tokens": tokens}


def _named(model: PretrainingModel, held: HeldOut) -> Columns:
    """Hidden tokens; the sentinels that end spans are taught, but not counted."""
    reader = held.readers["masked_lm"]
    assert isinstance(reader, Masked)
    found = {name: np.zeros(held.units) for name in ("masked_nats", "masked_right", "masked")}
    for units, batch in held.batches("masked_lm"):
        lost, right = _answered(model, "masked_lm", batch)
        owners = units[batch.owners.numpy()]
        kept = ~np.isin(batch.answers.numpy(), reader.vocabulary.sentinels)
        for name, values in (("masked_nats", lost), ("masked_right", right), ("masked", np.ones(len(lost)))):
            np.add.at(found[name], owners[kept], values[kept])
    return found


def _answered(model: PretrainingModel, name: str, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Nats of each answer, and whether it is the likeliest token; (answers,) float64."""
    logits = model({name: batch.to(model.device)})[name].float().cpu()
    lost = nn.functional.cross_entropy(logits, batch.answers, reduction="none")
    return lost.double().numpy(), (logits.argmax(-1) == batch.answers).double().numpy()


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
    return {name: values.astype(np.float64) for name, values in found.items()}


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


def unigram(train: Sequence[np.ndarray], vocabulary: int, held: HeldOut) -> Columns:
    """What a model reaches that knows how often each token comes and nothing else (one is added to each count).

    Args:
        train: tokens of each document; the one that begins it is not counted, since it is never foretold.
    """
    counts = np.ones(vocabulary)
    for document in train:
        np.add.at(counts, document[1:], 1)
    cost, found = np.log(counts.sum()) - np.log(counts), Columns()
    for name, columns in (("causal_lm", ("nats", "tokens")), ("masked_lm", ("masked_nats", "masked"))):
        reader = held.readers.get(name)
        if reader is None:
            continue
        lost, count, right = (np.zeros(held.units) for _ in range(3))
        likeliest = counts.copy()
        ignored = reader.vocabulary if isinstance(reader, Masked) else None
        if ignored is not None:
            likeliest[ignored.special] = 0
        for units, batch in held.batches(name):
            answers, owners = batch.answers.numpy(), units[batch.owners.numpy()]
            kept = np.ones(len(answers), bool) if ignored is None else ~np.isin(answers, ignored.sentinels)
            np.add.at(lost, owners[kept], cost[answers[kept]])
            np.add.at(count, owners[kept], 1.0)
            np.add.at(right, owners[kept], answers[kept] == likeliest.argmax())
        found |= dict(zip(columns, (lost, count), strict=True))
        if name == "masked_lm":
            found["masked_right"] = right
    return found


def chance(columns: Columns) -> Columns:
    """What drawing blindly reaches on the same units: the expected share of right answers of each kind."""
    found: Columns = {}
    for right, count in (("next_right", "next"), ("matching_right", "matching")):
        if right in columns:
            found |= {right: columns[count] / 2, count: columns[count]}
    for name in ("rank", "text_rank"):
        if name in columns:  # a permutation of the places: each is as likely as any other
            found[name] = np.random.default_rng(0).permutation(len(columns[name])) + 1.0
    return found
