"""``/v1/images``: pictures drawn from words, changed by words, and varied."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Callable, Sequence

from starlette.datastructures import UploadFile
from starlette.requests import Request

from sensorium.errors import MediaError, SensoriumError
from sensorium.serving.errors import ApiError, invalid, told, translate
from sensorium.serving.protocols import Expired
from sensorium.serving.routes.answering import while_there
from sensorium.serving.routes.image_schemas import (
    DrawnPicture,
    DrawnPictures,
    EditForm,
    GenerationRequest,
    PictureForm,
    PictureTokens,
    PictureUsage,
    VariationForm,
)
from sensorium.serving.service import Draw, Picture, Service

Few = Callable[[int, int], list[Picture]]  # how many, the first one's seed
_OUR_SEEDS = 2**31  # those drawn here are short enough to be read out


async def generate(body: GenerationRequest, request: Request, service: Service) -> DrawnPictures:
    """Pictures of what the words say."""
    drawer = drawer_of(body.model, service)
    check_size(body.size, drawer)
    words = check_prompt(body.prompt, drawer)
    few: Few = lambda n, seed: drawer.draw(body.prompt, n, seed)  # noqa: E731 - one of three
    pictures = await _drawn(few, body, request, service)
    return _answer(pictures, drawer, service, words=words, seen=0)


async def edit(form: EditForm, request: Request, service: Service) -> DrawnPictures:
    """A picture changed as the words say: as a whole, or where the mask lets it."""
    drawer = drawer_of(form.model, service)
    check_size(form.size, drawer)
    words = check_prompt(form.prompt, drawer)
    picture = await _picture(form, service)
    mask = None if form.mask is None else await _let_in(form.mask, "mask", service)
    few: Few = lambda n, seed: drawer.edit(picture, form.prompt, mask, n, seed)  # noqa: E731
    pictures = await _drawn(few, form, request, service)
    return _answer(pictures, drawer, service, words=words, seen=1)


async def vary(form: VariationForm, request: Request, service: Service) -> DrawnPictures:
    """Pictures like the one given."""
    drawer = drawer_of(form.model, service)
    check_size(form.size, drawer)
    picture = await _picture(form, service)
    few: Few = lambda n, seed: drawer.variations(picture, n, seed)  # noqa: E731
    pictures = await _drawn(few, form, request, service)
    return _answer(pictures, drawer, service, words=0, seen=1)


# -- what is asked ---------------------------------------------------------------------------------


def drawer_of(model: str | None, service: Service) -> Draw:
    """What draws; clients may leave the model out, as OpenAI lets them. Raises ApiError where nothing draws."""
    if model is not None:
        service.check_model(model)
    if service.parts.draw is None:
        raise service.cannot("does not draw")
    return service.parts.draw


def check_size(size: str | None, drawer: Draw) -> None:
    """Refuse a size that the run does not draw."""
    own = f"{drawer.size}x{drawer.size}"
    if size not in (None, "auto", own):
        raise invalid(f"this run draws {own}; leave size out, or send auto", "size", "invalid_value")


def check_prompt(prompt: str, drawer: Draw) -> int:
    """The tokens of a prompt. Raises ApiError where it says nothing, or more than the model reads."""
    if not prompt.strip():
        raise invalid("the prompt is empty; say what the picture shall show", "prompt", "invalid_value")
    tokens = drawer.tokens(prompt)
    if tokens > drawer.most_tokens:
        message = f"the prompt takes {tokens:,} tokens, and the model reads {drawer.most_tokens:,}; shorten it"
        raise invalid(message, "prompt", "context_length_exceeded")
    return tokens


async def _picture(form: PictureForm, service: Service) -> bytes:
    if not form.pictures:
        raise invalid("image is missing", "image", "missing_required_parameter")
    if len(form.pictures) > 1:
        raise invalid("this run looks at one picture at a time; send one", "image", "invalid_value")
    return await _let_in(form.pictures[0], "image", service)


async def _let_in(file: UploadFile, param: str, service: Service) -> bytes:
    """A file's bytes, once its header says that they are harmless. Raises ApiError."""
    data = await file.read()
    try:
        await asyncio.to_thread(service.door.check, "image", data)
    except MediaError as error:
        raise translate(error, param) or error from None
    return data


# -- drawing, and telling it -----------------------------------------------------------------------


async def _drawn(few: Few, asked: GenerationRequest | PictureForm, request: Request, service: Service) -> list[Picture]:
    """The pictures asked for, a few at a time: others have their turn in between, and nobody draws for who has left.

    Raises:
        ApiError: the drawer refused what it was given. Expired, Full; Gone when the client hung up.
    """
    assert service.parts.draw is not None
    count, at_once = asked.n or 1, service.parts.draw.together
    seed = secrets.randbelow(_OUR_SEEDS) if asked.seed is None else asked.seed

    async def all_of_them() -> list[Picture]:
        pictures: list[Picture] = []
        async with asyncio.timeout(service.settings.answer_seconds):
            while len(pictures) < count:
                n, first = min(at_once, count - len(pictures)), seed + len(pictures)
                pictures += await service.turn(lambda n=n, first=first: few(n, first))  # type: ignore[misc]
        return pictures

    try:
        return await while_there(request, all_of_them(), service.metrics)
    except TimeoutError:
        raise Expired from None
    except SensoriumError as error:
        raise _refusal(error) or error from None


def _refusal(error: SensoriumError) -> ApiError | None:
    """The drawer names the field itself where it knows it; else a picture that cannot be read is the image."""
    named = error.where if error.where in ("image", "mask", "prompt") else None
    if named in ("image", "mask") and not isinstance(error, MediaError):  # a mask of another size
        return invalid(told(error), named, "invalid_media")
    return translate(error, named or ("image" if isinstance(error, MediaError) else "prompt"))


def _answer(pictures: Sequence[Picture], drawer: Draw, service: Service, *, words: int, seen: int) -> DrawnPictures:
    """In OpenAI's form. ``words``: tokens of the prompt; ``seen``: pictures that were shown."""
    read = PictureTokens(image_tokens=seen * drawer.codes, text_tokens=words)
    made = PictureTokens(image_tokens=len(pictures) * drawer.codes, text_tokens=0)
    into, out = read.image_tokens + read.text_tokens, made.image_tokens
    service.metrics.prompt.inc(into)
    service.metrics.answer.inc(out)
    width, height = pictures[0].size
    return DrawnPictures(
        created=int(time.time()),
        data=[DrawnPicture(b64_json=base64.b64encode(one.png).decode(), seed=one.seed) for one in pictures],
        size=f"{width}x{height}",
        usage=PictureUsage(
            input_tokens=into,
            input_tokens_details=read,
            output_tokens=out,
            output_tokens_details=made,
            total_tokens=into + out,
        ),
    )
