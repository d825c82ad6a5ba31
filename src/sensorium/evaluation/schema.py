"""What ``metrics.json`` may hold: a closed schema with a closed list of metric names."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sensorium.errors import RunError
from sensorium.metrics.names import METRICS, Kind


def _known(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"unknown metric {name}; known: {', '.join(METRICS)}")
    return name


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Measured(_Closed):
    """A value with its 95 % interval. A percentile interval need not hold the value."""

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Measured:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        return self


class Gap(Measured):
    """After minus another system, with a two-sided p."""

    p: float = Field(ge=0, le=1)


MetricName = Annotated[str, AfterValidator(_known)]
Measures = dict[MetricName, Measured]
Gaps = dict[MetricName, Gap]


class PerClass(_Closed):
    """One class's own figures."""

    precision: float
    recall: float
    f1: float
    support: int


class Comparison(_Closed):
    """All systems on one set of rows. ``before`` and ``difference`` are absent where one model alone is measured."""

    before: Measures | None = None
    after: Measures
    difference: Gaps | None = None
    baselines: dict[str, Measures] = {}
    against: dict[str, Gaps] = {}
    rows: int = Field(ge=1)


class MetricsFile(Comparison):
    """``metrics.json`` (DESIGN §6)."""

    by: dict[str, dict[str, Comparison]] = {}
    split: str
    seed: int
    task: str
    kind: Kind
    primary: MetricName
    per_class: dict[str, dict[str, PerClass]] | None = None
    notes: list[str] = []


def validated(metrics: dict[str, Any], where: str = "metrics.json") -> dict[str, Any]:
    """``metrics`` unchanged when it fits the schema.

    Raises:
        RunError: it does not; the line names the key.
    """
    try:
        MetricsFile.model_validate(metrics)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{key}: {first['msg']}", where=where, mend="write it with sensorium evaluate") from None
    return metrics
