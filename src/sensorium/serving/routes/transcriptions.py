"""``/v1/audio/transcriptions``: what was said, in words."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sensorium.errors import MediaError
from sensorium.serving.errors import translate
from sensorium.serving.routes.answering import while_there
from sensorium.serving.routes.replies import Segment, Transcription, VerboseTranscription
from sensorium.serving.routes.schemas import TranscriptionForm
from sensorium.serving.service import Service, Spoken


async def transcribe(
    form: TranscriptionForm, request: Request, service: Service
) -> Response | Transcription | VerboseTranscription:
    """Write down what a sound says."""
    speak = service.parts.transcribe
    if speak is None:
        raise service.cannot("does not transcribe")
    service.check_model(form.model, (*service.parts.transcribe_names, service.settings.name))
    data = await form.file.read()
    limits = service.settings.media

    def work() -> Spoken:
        service.door.check("audio", data, limits.spoken_seconds)
        return speak(data, form.language, form.prompt)

    try:
        spoken: Spoken = await while_there(request, service.turn(work), service.metrics)
    except MediaError as error:
        raise translate(error, "file") or error from None
    if form.response_format == "text":
        return PlainTextResponse(spoken.text + "\n")
    if form.response_format == "verbose_json":
        segments = [Segment(id=i, start=s, end=e, text=t) for i, (s, e, t) in enumerate(spoken.segments)]
        return VerboseTranscription(
            language=spoken.language, duration=spoken.seconds, text=spoken.text, segments=segments
        )
    return Transcription(text=spoken.text)
