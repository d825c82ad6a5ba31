"""The peer: the same job with ``transformers.Trainer`` and PEFT, as their documents would have one write it.

A projector at the GPT's input, LoRA on all linear maps, one question a sequence, group-by-length, labels of -100 but on
the answer. The picture's features are computed beforehand by the same code as Sensorium's, and the projector is
Sensorium's own (standardised features, the same dropout), so that the two differ in how they train, not in what.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.curves import Watch
from sensorium.models.fusion import Projector

MARK = "\ue000"
IGNORED = -100


@dataclass(frozen=True)
class Setup:
    """How the peer is set up.

    Attributes:
        adapters: fp32 (PEFT's default beside bf16 weights) or bf16.
        attention: sdpa (the default) or eager.
        supervised_only: logits at the places that are taught only, instead of at all.
        autocast: ``TrainingArguments(bf16=True)``.
    """

    adapters: str = "fp32"
    attention: str = "sdpa"
    supervised_only: bool = False
    autocast: bool = False


@dataclass(frozen=True)
class Schedule:
    """How long and how fast it learns; everything else is the libraries' default."""

    steps: int
    batch_size: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    seed: int = 0


class Questions(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Rows as token ids with placeholders for the picture.

    Args:
        asked: (question, answer) of each row; features: row's place -> (positions, width).
    """

    def __init__(self, tokenizer: Any, asked: Sequence[tuple[str, str]], features: Callable[[int], Tensor]) -> None:
        self.features = features
        self.items = [encode(tokenizer, *pair, positions=len(features(i))) for i, pair in enumerate(asked)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {**self.items[place], "features": self.features(place)}


def encode(tokenizer: Any, question: str, answer: str, *, positions: int) -> dict[str, list[int]]:
    """One row through the chat template: ``input_ids``, ``labels``, and ``slots`` (1 where the picture stands)."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": MARK + question}], tokenize=False, add_generation_prompt=True
    )
    before, after = (tokenizer.encode(part, add_special_tokens=False) for part in text.split(MARK))
    said = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
    picture = [tokenizer.eos_token_id] * positions
    prompt = [*before, *picture, *after]
    slots = [0] * len(before) + [1] * positions + [0] * (len(after) + len(said))
    return {"input_ids": prompt + said, "labels": [IGNORED] * len(prompt) + said, "slots": slots}


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Pad on the right."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filler: int) -> Tensor:
        return torch.tensor([row[name] + [filler] * (longest - len(row[name])) for row in rows])

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": padded("input_ids", 0),
        "labels": padded("labels", IGNORED),
        "slots": padded("slots", 0).bool(),
        "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        "features": torch.stack([row["features"] for row in rows]),
    }


class Peer(nn.Module):
    """A causal LM that reads a picture's projected features in the place of placeholder tokens."""

    def __init__(self, lm: nn.Module, projector: Projector, supervised_only: bool) -> None:
        super().__init__()
        self.lm: Any = lm
        self.projector, self.supervised_only = projector, supervised_only

    def forward(
        self, input_ids: Tensor, labels: Tensor, slots: Tensor, attention_mask: Tensor, features: Tensor
    ) -> dict[str, Tensor]:
        """ids, labels, slots, mask (batch, tokens), features (batch, positions, width) -> {"loss"}."""
        embedded = self.embed(input_ids, slots, features)
        if self.supervised_only:
            total, count = self.likelihood(embedded, labels, attention_mask)
            return {"loss": total / count}
        return {
            "loss": self.lm(inputs_embeds=embedded, attention_mask=attention_mask, labels=labels, use_cache=False).loss
        }

    def embed(self, input_ids: Tensor, slots: Tensor, features: Tensor) -> Tensor:
        embedded = self.lm.get_input_embeddings()(input_ids)
        projected = self.projector(features, torch.ones(len(features), dtype=torch.bool))
        return embedded.masked_scatter(slots[..., None], projected.to(embedded.dtype))

    def likelihood(self, embedded: Tensor, labels: Tensor, attention_mask: Tensor) -> tuple[Tensor, int]:
        """-Σ log P of the labels, and how many they are."""
        base = self.lm.get_base_model()
        hidden = base.model(inputs_embeds=embedded, attention_mask=attention_mask, use_cache=False).last_hidden_state
        taught = labels[:, 1:] != IGNORED
        logits = base.lm_head(hidden[:, :-1][taught]).float()
        return nn.functional.cross_entropy(logits, labels[:, 1:][taught], reduction="sum"), int(taught.sum())


def build(
    folder: str, setup: Setup, *, rank: int, width_in: int, dropout: float, statistics: Tensor, seed: int
) -> Peer:
    """The peer's model. ``statistics``: (rows, width_in) training features that the projector standardises by."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    lm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation=setup.attention)
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    lm = get_peft_model(lm, config, autocast_adapter_dtype=setup.adapters == "fp32")
    projector = Projector(width_in, lm.config.hidden_size, dropout, hidden=True)
    projector.fit(statistics)
    return Peer(lm, projector, setup.supervised_only)


@torch.inference_mode()
def validation_loss(peer: Peer, questions: Questions, batch_size: int = 32) -> tuple[float, int]:
    """Mean -log P of an answer's token in nats (end included), and the tokens it is a mean of."""
    training = peer.training
    peer.eval()
    order = sorted(range(len(questions)), key=lambda i: len(questions.items[i]["input_ids"]))
    total, tokens = 0.0, 0
    for start in range(0, len(order), batch_size):
        batch = collate([questions[i] for i in order[start : start + batch_size]])
        embedded = peer.embed(batch["input_ids"], batch["slots"], batch["features"])
        value, count = peer.likelihood(embedded, batch["labels"], batch["attention_mask"])
        total, tokens = total + float(value), tokens + count
    peer.train(training)
    return total / tokens, tokens


def train(peer: Peer, questions: Questions, setup: Setup, schedule: Schedule, watch: Watch) -> None:
    """``transformers.Trainer``; ``watch`` is called after every step."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class AfterStep(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch()

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=schedule.steps,
            per_device_train_batch_size=schedule.batch_size,
            learning_rate=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            lr_scheduler_type="cosine",
            warmup_steps=round(schedule.warmup * schedule.steps),
            train_sampling_strategy="group_by_length",
            bf16=setup.autocast,
            use_cpu=not torch.cuda.is_available(),
            seed=schedule.seed,
            save_strategy="no",  # it writes nothing, which is in its favour
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = Trainer(peer, arguments, data_collator=collate, train_dataset=questions, callbacks=[AfterStep()])
        trainer.train()
