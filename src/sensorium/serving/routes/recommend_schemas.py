"""``/v1/recommend``, an extension: what clients send and what they get."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from sensorium.serving.routes.schemas import Name, Request, Whole

Title = Annotated[str, Field(min_length=1, max_length=1000)]
Share = Annotated[float, Field(ge=0, le=1)]


class RecommendRequest(Request):
    """For a ``user`` of the run, or for a visitor with a ``history``: ids or titles, oldest first.

    ``top``: how many (10). ``because``: also what moved each score. ``diversity``, ``freshness``: 0 (as ranked) to 1.
    ``seen``: whether what was met may come again.
    """

    model: Name
    user: Name | Whole | None = None
    history: Annotated[list[Title] | None, Field(max_length=4096)] = None
    top: Annotated[int | None, Field(ge=1, le=1000)] = None
    because: bool | None = None
    diversity: Share | None = None
    freshness: Share | None = None
    seen: bool | None = None

    @model_validator(mode="after")
    def _for_whom(self) -> RecommendRequest:
        if (self.user is None) == (self.history is None):
            raise ValueError("give one of user and history")
        return self


class Reason(BaseModel):
    """What the score would lose without an item of the history, by its title, or without an input of the items."""

    kind: Literal["history", "input"]
    name: str
    fall: float


class Recommendation(BaseModel):
    index: int
    item: str
    title: str
    score: float
    because: list[Reason] | None = None


class RecommendationList(BaseModel):
    """``known``: whether anything is known of whom the list is for; otherwise it is what any visitor gets."""

    object: Literal["list"] = "list"
    data: list[Recommendation]
    model: str
    known: bool
    notes: list[str]
