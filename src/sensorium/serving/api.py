"""The HTTP application: OpenAI's routes over an engine that is handed in, behind the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from sensorium.errors import SensoriumError
from sensorium.serving import errors
from sensorium.serving.door.fetch import Fetcher, dial, resolve
from sensorium.serving.door.gate import Gate
from sensorium.serving.door.media import Door
from sensorium.serving.door.safe_json import parse
from sensorium.serving.errors import ApiError, ErrorBody
from sensorium.serving.metrics import CONTENT_TYPE, Metrics
from sensorium.serving.protocols import BadGrammar, Draining, Expired, Full, TooLong
from sensorium.serving.routes import chat, images, replies, responses, transcriptions, translations, vectors
from sensorium.serving.routes import recommend as recommending
from sensorium.serving.routes.answering import Gone
from sensorium.serving.routes.image_schemas import DrawnPictures, EditForm, GenerationRequest, VariationForm
from sensorium.serving.routes.pages import add_pages
from sensorium.serving.routes.recommend_schemas import RecommendationList, RecommendRequest
from sensorium.serving.routes.responses_schemas import ResponseObject, ResponsesRequest
from sensorium.serving.routes.schemas import (
    ChatRequest,
    ClassifyRequest,
    EmbeddingRequest,
    TranscriptionForm,
    TranslateRequest,
)
from sensorium.serving.service import Parts, Service
from sensorium.serving.settings import Settings
from sensorium.serving.single_file import SingleFile

_UNREADABLE = "the form cannot be read: it is not whole, or has too many fields or files, or a field that is too long"
ALWAYS = ("/health", "/ready")
REFUSALS = {
    400: "The request is wrong; `param` names the field.",
    401: "The API key is missing or not known.",
    403: "A page of another origin called.",
    404: "There is no such model or route.",
    405: "The method is not allowed.",
    408: "The body or the answer took too long.",
    413: "The body is too large.",
    415: "The body is of another type than JSON, or compressed.",
    421: "The Host header names another server.",
    429: "Too many requests: see Retry-After.",
    431: "The headers are too large.",
    500: "A defect of the server.",
    503: "The server is going down: see Retry-After.",
}
_DOCUMENTED: Any = {status: {"model": ErrorBody, "description": text} for status, text in REFUSALS.items()}


def make_app(parts: Parts, settings: Settings, fetcher: Fetcher | None = None) -> Gate:
    """The application, as ASGI.

    Args:
        parts: what answers. fetcher: of remote media; None: one over the machine's own network, under the settings.
    """
    metrics = Metrics(parts.engine.gauges if parts.engine is not None else None)
    door = Door(settings.media, fetcher or Fetcher(settings.fetch, resolve, dial))
    service = Service(parts, settings, door, metrics, SingleFile())
    app = FastAPI(
        title="Sensorium", version="1", docs_url=None, redoc_url=None, redirect_slashes=False, responses=_DOCUMENTED,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Prometheus has ours
    )  # fmt: skip
    app.router.route_class = _route_class(settings)
    gate = Gate(app, settings, metrics)
    _add_routes(app, service, gate)
    gate.public = frozenset([*ALWAYS, *add_pages(app)])
    _add_refusals(app)
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return gate


def _add_routes(app: FastAPI, service: Service, gate: Gate) -> None:
    parts, settings = service.parts, service.settings

    @app.get("/health", summary="Whether the process lives")
    async def health() -> replies.Health:
        return replies.Health(status="ok")

    @app.get("/ready", summary="Whether it takes requests")
    async def ready() -> replies.Health:
        if gate.draining:
            raise errors.draining()
        return replies.Health(status="ok")

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=Response,
             responses={200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}})  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    @app.get("/v1/models", summary="What is served")
    async def models() -> replies.ModelList:
        names = [settings.name, *(parts.transcribe_names if parts.transcribe else ())]
        return replies.ModelList(data=[_model_info(name, service) for name in names])

    @app.get("/v1/models/{model}", summary="One model")
    async def model(model: str) -> replies.ModelInfo:
        service.check_model(model, (settings.name, *(parts.transcribe_names if parts.transcribe else ())))
        return _model_info(model, service)

    @app.post("/v1/chat/completions", summary="Answer a conversation", response_model=replies.Completion,
              responses=_streams("replies.Chunk"))  # fmt: skip
    async def completions(body: ChatRequest, request: Request) -> Any:
        return await chat.complete(body, request, service)

    @app.post("/v1/responses", summary="Answer a conversation, in the newer form", response_model=ResponseObject,
              responses=_streams("Event"))  # fmt: skip
    async def respond(body: ResponsesRequest, request: Request) -> Any:
        return await responses.respond(body, request, service)

    @app.post("/v1/audio/transcriptions", summary="Write down a sound",
              response_model=replies.VerboseTranscription | replies.Transcription,
              responses={200: {"content": {"text/plain; charset=utf-8": {"schema": {"type": "string"}}}}})  # fmt: skip
    async def transcribe(
        form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")], request: Request
    ) -> Any:
        return await transcriptions.transcribe(form, request, service)

    @app.post("/v1/embeddings", summary="Fused vectors")
    async def embed(body: EmbeddingRequest, request: Request) -> replies.Embeddings:
        return await vectors.embed(body, request, service)

    @app.post("/v1/classify", summary="Classes or numbers of rows", response_model_exclude_none=True)
    async def classify(body: ClassifyRequest, request: Request) -> replies.Classifications:
        return await vectors.classify(body, request, service)

    @app.post("/v1/recommend", summary="What a user may like next", response_model_exclude_none=True)
    async def recommend(body: RecommendRequest, request: Request) -> RecommendationList:
        return await recommending.recommend(body, request, service)

    @app.post("/v1/translate", summary="Texts into another language")
    async def translate(body: TranslateRequest, request: Request) -> replies.Translations:
        return await translations.translate_texts(body, request, service)

    @app.post("/v1/images/generations", summary="Draw pictures from words")
    async def draw(body: GenerationRequest, request: Request) -> DrawnPictures:
        return await images.generate(body, request, service)

    @app.post("/v1/images/edits", summary="Change a picture as words say")
    async def edit(
        form: Annotated[EditForm, Form(media_type="multipart/form-data")], request: Request
    ) -> DrawnPictures:
        return await images.edit(form, request, service)

    @app.post("/v1/images/variations", summary="Draw pictures like one")
    async def vary(
        form: Annotated[VariationForm, Form(media_type="multipart/form-data")], request: Request
    ) -> DrawnPictures:
        return await images.vary(form, request, service)


def _model_info(name: str, service: Service) -> replies.ModelInfo:
    routes = service.routes() if name == service.settings.name else ["/v1/audio/transcriptions"]
    return replies.ModelInfo(id=name, created=service.created, routes=routes)


def _streams(name: str) -> Any:
    return {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": f"Or events: {name}"}
    }


def _route_class(settings: Settings) -> type[APIRoute]:
    """Routes whose requests are parsed within limits."""

    class Bounded(Request):
        async def json(self) -> Any:
            if not hasattr(self, "_json"):
                self._json = parse(await self.body(), values=settings.values, depth=settings.depth)
            return self._json

        files = 1

        async def _get_form(self, **limits: Any) -> FormData:
            own = {"max_files": self.files, "max_fields": 16, "max_part_size": 65_536}
            return await super()._get_form(**limits | own)

    class BoundedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Any]:
            handle, wanted, files = super().get_route_handler(), _wanted_type(self), _most_files(self)

            async def bounded(request: Request) -> Response:
                given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if wanted and given != wanted:
                    raise errors.invalid(f"the body must be {wanted}", code="content_type", status=415)
                try:
                    asked = Bounded(request.scope, request.receive)
                    asked.files = files
                    return await handle(asked)
                except HTTPException as error:
                    # FastAPI wraps what reading a body raises; ours says more.
                    if isinstance(error.__cause__, ApiError):
                        raise error.__cause__ from None
                    if error.status_code == 400 and wanted == "multipart/form-data":
                        raise errors.invalid(_UNREADABLE, code="invalid_form") from None
                    raise

            return bounded

    return BoundedRoute


def _wanted_type(route: APIRoute) -> str | None:
    if route.body_field is None:
        return None
    return str(getattr(route.body_field.field_info, "media_type", "application/json"))


def _most_files(route: APIRoute) -> int:
    """How many files a form may bring: what its model says."""
    form = None if route.body_field is None else route.body_field.field_info.annotation
    return int(getattr(form, "files", 1))


def _add_refusals(app: FastAPI) -> None:
    """Every way that a request can fail, in OpenAI's error body."""

    async def refuse(request: Request, error: Exception) -> Response:
        found = errors.translate(error)
        assert found is not None
        return found.response()

    async def of_router(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        found = errors.of_status(error.status_code)
        found.headers |= dict(error.headers or {})
        return found.response()

    async def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return errors.of_validation(list(error.errors())).response()

    async def of_defect(request: Request, error: Exception) -> Response:
        return ApiError(
            500, "something went wrong here, not with you", type_="server_error", code="internal_error"
        ).response()

    async def of_gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nginx's number for it; nobody reads it but the log

    for kind in (ApiError, SensoriumError, Full, TooLong, Draining, Expired, BadGrammar):
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(HTTPException, of_router)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(Gone, of_gone)
    app.add_exception_handler(Exception, of_defect)


def _description(app: FastAPI) -> dict[str, Any]:
    """OpenAPI, without the 422 that FastAPI answers by itself and we do not, and with the key."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path, methods in made["paths"].items():
            for operation in methods.values():
                operation["responses"].pop("422", None)
                if path not in ALWAYS:
                    operation["security"] = [{"key": []}]
        for name in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(name, None)
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = made
    return app.openapi_schema
