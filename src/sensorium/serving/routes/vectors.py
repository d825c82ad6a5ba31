"""``/v1/embeddings`` and ``/v1/classify``: the fused vector of any modalities, and the class of a row."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from starlette.requests import Request

from sensorium.data.messages import Message
from sensorium.errors import MediaError
from sensorium.serving.door.media import Allowance
from sensorium.serving.errors import invalid, translate
from sensorium.serving.routes.answering import while_there
from sensorium.serving.routes.conversation import parts_of
from sensorium.serving.routes.replies import Classification, Classifications, Embedding, Embeddings, EmbeddingUsage
from sensorium.serving.routes.schemas import ClassifyRequest, EmbeddingRequest, Sound, TextContent
from sensorium.serving.service import Service


async def embed(body: EmbeddingRequest, request: Request, service: Service) -> Embeddings:
    """A vector for each text or list of parts."""
    service.check_model(body.model)
    make = service.parts.embed
    if make is None:
        raise service.cannot("gives no vectors")
    items = [body.input] if isinstance(body.input, str) else body.input
    contents = [[TextContent(type="text", text=item)] if isinstance(item, str) else item for item in items]
    count = sum(not isinstance(part, TextContent) for parts in contents for part in parts)
    if count > service.settings.media.together:
        raise invalid(f"{count} pictures and sounds are more than {service.settings.media.together}", "input")
    allowance = service.door.allowance()
    shown = [
        Message("user", await parts_of(parts, service.door, f"input.{i}", allowance))
        for i, parts in enumerate(contents)
    ]
    vectors, tokens = await while_there(request, service.turn(lambda: make(shown)), service.metrics)
    form = _base64 if body.encoding_format == "base64" else _floats
    return Embeddings(
        data=[Embedding(index=i, embedding=form(vector)) for i, vector in enumerate(vectors)],
        model=service.settings.name,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _floats(vector: np.ndarray) -> list[float]:
    return [float(value) for value in vector]


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")


async def classify(body: ClassifyRequest, request: Request, service: Service) -> Classifications:
    """The class, or the number, of each row."""
    service.check_model(body.model)
    classifier = service.parts.classify
    if classifier is None:
        raise service.cannot("does not classify")
    given = [body.input] if isinstance(body.input, dict) else body.input
    allowance = service.door.allowance()
    rows = [await _row(row, classifier.columns, service, f"input.{i}", allowance) for i, row in enumerate(given)]
    found = await while_there(request, service.turn(lambda: classifier(rows)), service.metrics)
    data = [
        Classification(index=i, label=each.label, value=each.value, probabilities=each.probabilities)
        for i, each in enumerate(found)
    ]
    return Classifications(data=data, model=service.settings.name)


async def _row(
    row: dict[str, Any], columns: dict[str, str], service: Service, where: str, allowance: Allowance
) -> dict[str, Any]:
    """A row whose media cells hold bytes. Columns that the run does not have are refused."""
    unknown = sum(column not in columns for column in row)
    if unknown:
        known = ", ".join(columns)
        raise invalid(f"{unknown} of the row's columns are not of this run, which has {known}", where, "unknown_column")
    if all(cell is None for cell in row.values()):
        raise invalid("the row is empty", where)
    return {n: await _cell(cell, columns[n], service, f"{where}.{n}", allowance) for n, cell in row.items()}


async def _cell(cell: Any, kind: str, service: Service, where: str, allowance: Allowance) -> Any:
    if cell is None or kind not in ("image", "audio"):
        if isinstance(cell, Sound):
            raise invalid("this column holds no sound", where)
        return cell
    try:
        if isinstance(cell, Sound) and kind == "audio":
            return await service.door.open_sound(cell.data, cell.format, allowance)
        if not isinstance(cell, str):
            raise MediaError("this is no data: address", mend="send the media itself as data:TYPE;base64,…")
        return await service.door.open("image" if kind == "image" else "audio", cell, allowance)
    except MediaError as error:
        raise translate(error, where) or error from None
