"""The application keeps to its own description: no 5xx, no status that the description does not name."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from sensorium.run import sha256_text
from tests.serving.fake import KEY, app_of

GATE: Any = app_of(
    key_hashes={"me": sha256_text(KEY)}, hosts=("127.0.0.1", "localhost", "testserver", "testserver.local")
)
# What counts as a refusal: schemathesis' own list, and 413, which a body beyond the limit gets before anybody reads it.
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
SCHEMA = schemathesis.openapi.from_dict(GATE.app.openapi(), config=CONFIG)
SCHEMA.app = GATE


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_keeps_to_its_description(case: Any) -> None:
    case.call_and_validate(
        headers={"authorization": f"Bearer {KEY}"},
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            negative_data_rejection,
        ],
    )
