"""``/v1/recommend``: the items that a user, or a visitor with a history, may like next."""

from __future__ import annotations

from starlette.requests import Request

from sensorium.serving.errors import invalid
from sensorium.serving.routes.answering import while_there
from sensorium.serving.routes.recommend_schemas import RecommendationList, RecommendRequest
from sensorium.serving.service import Service


async def recommend(body: RecommendRequest, request: Request, service: Service) -> RecommendationList:
    """A list for one user or visitor."""
    service.check_model(body.model)
    recommender = service.parts.recommend
    if recommender is None:
        raise service.cannot("does not recommend")
    unknown = [i for i, title in enumerate(body.history or []) if not recommender.knows(title)]
    if unknown:
        where = f"history.{unknown[0]}"
        more = f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else ""
        raise invalid(f"{where} is no id or title of the catalogue{more}", where, "unknown_item")
    if body.freshness and not recommender.dated:
        raise invalid("this run does not hold when its items appeared", "freshness", "unsupported_parameter")
    found = await while_there(request, service.turn(lambda: recommender(body)), service.metrics)
    return found.model_copy(update={"model": service.settings.name})
