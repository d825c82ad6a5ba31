"""``model/README.md``: what the model is, what it was made of, how well it does, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium import assets
from sensorium.evaluation.table import results, text
from sensorium.evaluation.verdict import verdict
from sensorium.jobs.prepare import Prepared
from sensorium.recipe import Recipe

LOADED = ("import sensorium", 'model = sensorium.load("RUN")  # the folder above this one')


def model_card(recipe: Recipe, prepared: Prepared, metrics: dict[str, Any]) -> str:
    """A model card in the hub's layout (Mitchell et al. 2019), from what the run measured."""
    model, schema = recipe.model, prepared.schema
    named = {
        "GPT": model.backbone,
        "image encoder": model.image,
        "audio encoder": model.audio,
        "text encoder": model.text,
    }
    kinds = set(schema.inputs.values())
    used = {
        "GPT": True,
        "image encoder": "image" in kinds,
        "audio encoder": "audio" in kinds,
        "text encoder": model.text is not None,
    }
    parts = {part: name for part, name in named.items() if name and (used[part] or schema.messages)}
    inputs = [f"- {name}: {kind}" for name, kind in schema.inputs.items()] or [
        "- conversations with pictures and sounds"
    ]
    sizes = {part: len(getattr(prepared.splits, part)) for part in ("train", "validation", "test")}
    target = schema.target or "the assistant's answers"
    return page(
        f"{target}, from {prepared.source.name}",
        f"A GPT tuned by Sensorium to {schema.task}: fusion {model.fusion.kind}, adapt {model.adapt.method}.",
        f"multimodal, {schema.task}",
        parts,
        inputs,
        f"{sizes['train']:,} training, {sizes['validation']:,} validation and {sizes['test']:,} test rows "
        f"({prepared.splits.method}); {len(prepared.report.quarantined):,} rows were set aside.",
        text(results(metrics)),
        verdict(metrics),
        [*LOADED, "model.predict(rows)            # dicts, a DataFrame or an Arrow table"],
    )


@dataclass(frozen=True)
class Made:
    """What a model is, as its task tells it; see ``page``."""

    title: str
    lead: str
    tags: str
    parts: Mapping[str, str]
    inputs: Sequence[str]
    use: Sequence[str]


def made_card(made: Made, metrics: dict[str, Any], data_report: dict[str, Any]) -> str:
    """A model card from what a run measured and from what its ``data_report.json`` says of the rows."""
    sizes = ", ".join(f"{count:,} {part}" for part, count in data_report["splits"].items())
    away = data_report.get("quarantined", len(data_report.get("set_aside", [])))
    away += sum(data_report.get("left_out", {}).values())
    return page(
        made.title,
        made.lead,
        made.tags,
        made.parts,
        made.inputs,
        f"{sizes} rows; {away:,} were set aside.",
        text(results(metrics)),
        verdict(metrics),
        made.use,
    )


def page(
    title: str,
    lead: str,
    tags: str,
    parts: Mapping[str, str],
    inputs: Sequence[str],
    data: str,
    measured: str,
    said: Sequence[str],
    use: Sequence[str],
) -> str:
    """The card's layout.

    Args:
        parts: what it is: the pretrained part's name; its licence is added.
        inputs: lines; data: a sentence; measured: a table in plain text; said: what the figures say.
        use: lines of Python; ``LOADED`` opens the run as ``model``.
    """
    return "\n".join(
        [
            "---",
            "library_name: sensorium",
            f"tags: [{tags}]",
            "---",
            f"# {title}",
            "",
            lead,
            "",
            *(["## Parts"] if parts else []),
            *[f"- {part}: `{name}`{_licence(name)}" for part, name in parts.items()],
            *([""] if parts else []),
            "## Inputs",
            *inputs,
            "",
            "## Data",
            data,
            "",
            "## Measured on the test split",
            "```text",
            measured.rstrip(),
            "```",
            *[f"- {sentence}" for sentence in said],
            "",
            "## Limits",
            "It was measured on rows like those it was trained on, and on nothing else. Its answers are not checked by anyone.",
            "",
            "## Use",
            "```python",
            *use,
            "```",
            "",
        ]
    )


def _licence(name: str) -> str:
    return f" ({assets.CATALOGUE[name].licence})" if name in assets.CATALOGUE else ""
