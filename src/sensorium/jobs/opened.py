"""A finished run of a tuned GPT, opened to answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from sensorium import assets
from sensorium.data.media import read_media
from sensorium.data.rows import Rows
from sensorium.data.schema import Schema, check_columns
from sensorium.data.sources import Source, from_rows, open_source
from sensorium.errors import DataError, RunError, first_line
from sensorium.jobs.chat import MAX_TOKENS, stream_chat
from sensorium.jobs.feed import Feed
from sensorium.models.decoding import DecodingSettings
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor
from sensorium.recipe import DataRecipe, Recipe
from sensorium.run import Run
from sensorium.tasks.answers import Answers
from sensorium.tasks.classify import Classify
from sensorium.tasks.generate import Generate


class Model:
    """A tuned model with its processor; made by ``sensorium.load``.

    Attributes:
        recipe: the run's, complete; schema: what its columns mean.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.recipe = run, run.recipe
        if self.recipe.task == "pretrain":
            mend = f"name {run.model} as model.backbone or model.text of a recipe, and fit that"
            raise RunError("is pretrained, and answers nothing by itself", where=str(run.folder), mend=mend)
        self.schema = read_schema(run)
        training = self.recipe.training
        dtype = torch.bfloat16 if training.precision == "bf16" else torch.float32
        try:
            self.model = MultimodalGPT.from_pretrained(run.model, dtype=dtype, attention=training.attention)
            self.processor = Processor.from_pretrained(run.model)
        except RunError:
            raise
        except Exception as error:  # a copy that is not whole: libraries raise whatever they like
            what = f"the model cannot be opened ({first_line(error)})"
            raise RunError(what, where=str(run.model), mend="copy the run again, or rerun it with --fresh") from error
        self.task = make_task(self.processor, self.recipe)

    def predict(self, rows: Any, *, root: str | Path | None = None) -> list[Any]:
        """An answer a row.

        Args:
            rows: dicts, a pandas DataFrame or an Arrow table with the run's input columns; absent cells are missing.
                Pictures and sounds are bytes, {"bytes", "path"}, or paths under ``root`` (here by default).
        """
        return self.answer(table_source(rows, self.schema, Path(root) if root else Path.cwd())).predictions

    def chat(self, messages: Any, *, root: str | Path | None = None, **settings: Any) -> str:
        """The answer to OpenAI chat messages, the last of them the user's.

        Args:
            messages: content parts ``text``, ``image_url`` and ``input_audio``; pictures and sounds are ``data:``
                addresses, base64, or paths under ``root`` (here by default).
            settings: of ``DecodingSettings``: ``max_new_tokens`` (256), ``temperature`` (0: greedy), ``top_p``, …

        Raises:
            DataError: the messages are malformed or too long, or the run classifies.
        """
        return "".join(self.stream(messages, root=root, **settings))

    def stream(self, messages: Any, *, root: str | Path | None = None, **settings: Any) -> Iterator[str]:
        """The answer of ``chat`` in pieces, as it comes."""
        decoding = DecodingSettings(**{"max_new_tokens": MAX_TOKENS, **settings})
        return stream_chat(messages, self, decoding, Path(root) if root else Path.cwd())

    def answer(self, source: Source, rows: np.ndarray | None = None, progress: Any = None) -> Answers:
        """Answers to ``rows`` (all by default) of an opened source."""
        check_columns(self.schema, source, need_target=False)
        self.processor.read_media = partial(read_media, root=source.root)
        feed = Feed(Rows(source, self.schema), self.processor, self.recipe.evaluation.batch_size)
        chosen = np.arange(len(source)) if rows is None else rows
        return self.task.predict(self.model, feed, chosen.tolist(), progress)


def read_schema(run: Run) -> Schema:
    """What the columns of a run's data mean."""
    raw = run.read_json("schema.json")
    try:
        return Schema.from_dict(raw)
    except (TypeError, ValueError, AttributeError) as error:
        what = f"schema.json is damaged ({first_line(error)})"
        raise RunError(what, where=str(run.folder), mend="rerun with --fresh") from None


def load(run: str | Path) -> Model:
    """Open a run's folder to answer with its model. Works with the network off, on any machine that has the folder.

    Raises:
        RunError: there is no run, a file of it is missing or damaged, or it recommends.
    """
    return Model(read_tuned(run))


def read_tuned(run: str | Path) -> Run:
    """A run of a tuned GPT. RunError where there is none, or where it recommends or draws."""
    found = Run.read(run)
    if found.recipe.task == "draw":
        mend = "ask it with sensorium draw, edit, caption or serve"
        raise RunError("the run draws: it neither converses nor classifies", where=str(run), mend=mend)
    if found.recipe.task == "recommend":
        mend = "ask it with sensorium recommend, predict or serve"
        raise RunError("the run recommends: it neither converses nor classifies", where=str(run), mend=mend)
    return found


def make_task(processor: Processor, recipe: Recipe) -> Classify | Generate:
    """The task of a tuned model."""
    if processor.settings.task == "generate":
        return Generate(processor, decoding=DecodingSettings(max_new_tokens=recipe.evaluation.max_new_tokens))
    return Classify(processor.settings)


def open_rows(path: str | list[str], recipe: Recipe) -> Source:
    """A file of rows to answer, in the format of the run's own data where it is named."""
    data = DataRecipe(source=path, root=recipe.data.root)
    return open_source(data, assets.cache_root() / "tables")


def table_source(rows: Any, schema: Schema, root: Path) -> Source:
    """Rows in memory as a source; columns that the run knows and the rows lack are missing throughout."""
    source = from_rows(rows, root)
    if not len(source):
        raise DataError("no rows to answer", mend="give at least one")
    needed = [str(name) for name in ([schema.messages] if schema.messages else schema.inputs)]
    absent = [name for name in needed if name not in source.table.column_names]
    if len(absent) == len(needed):
        raise DataError(
            f"none of the columns {', '.join(needed)} is there", where="predict", mend="name cells by column"
        )
    for name in absent:
        source.table = source.table.append_column(name, pa.nulls(len(source), pa.large_string()))
    return source
