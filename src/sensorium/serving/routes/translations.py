"""``/v1/translate``: texts into another language, with a picture of what they say where the run looks at pictures."""

from __future__ import annotations

from starlette.requests import Request

from sensorium.errors import DataError, MediaError
from sensorium.serving.errors import invalid, translate
from sensorium.serving.routes.answering import while_there
from sensorium.serving.routes.replies import Translation, Translations
from sensorium.serving.routes.schemas import TranslateRequest
from sensorium.serving.service import Service, TranslateTexts
from sensorium.tasks.translation_directions import chosen_direction


async def translate_texts(body: TranslateRequest, request: Request, service: Service) -> Translations:
    """A translation for each text, in order; an empty text stays empty."""
    service.check_model(body.model)
    translator = service.parts.translate
    if translator is None:
        raise service.cannot("does not translate")
    texts = [body.input] if isinstance(body.input, str) else body.input
    source, target = direction_of(translator, body.from_, body.to)
    picture = await _picture(body.image, service, translator)
    check_lengths(translator, texts)
    said = await while_there(request, service.turn(lambda: translator(texts, source, target, picture)), service.metrics)
    data = [Translation(index=i, text=text) for i, text in enumerate(said)]
    return Translations(data=data, from_=source, to=target, model=service.settings.name)


def direction_of(translator: TranslateTexts, source: str | None, target: str | None) -> tuple[str, str]:
    """The tags as the run writes them. ApiError names those that it knows."""
    try:
        return chosen_direction(translator.directions, source, target)
    except DataError as error:
        raise translate(error, "to" if target is not None else "from") or error from None


def check_lengths(translator: TranslateTexts, texts: list[str]) -> None:
    """Refuse a text that the model cannot read whole."""
    for i, count in enumerate(translator.tokens(texts)):
        if count > translator.most_tokens:
            message = f"the text takes {count:,} tokens, and the model reads {translator.most_tokens:,}; part it into sentences"
            raise invalid(message, f"input.{i}", "context_length_exceeded")


async def _picture(reference: str | None, service: Service, translator: TranslateTexts) -> bytes | None:
    if reference is None:
        return None
    if not translator.sees_pictures:
        raise invalid("this run sees no pictures; leave image out", "image", "unsupported_parameter")
    try:
        return await service.door.open("image", reference, service.door.allowance())
    except MediaError as error:
        raise translate(error, "image") or error from None
