"""``sensorium serve`` of a run that recommends, as a process."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.test_serve import DRAIN, client_of, serving
from tests.ring import fit_ring


def test_a_run_that_recommends(tmp_path: Path, cache: Path) -> None:
    run = fit_ring(tmp_path)
    with serving(run, cache, "--name", "ring") as (process, address), client_of(address) as client:
        assert [model.id for model in client.models.list()] == ["ring"]

        def ask(**told: Any) -> Any:
            return client.post("/recommend", cast_to=object, body={"model": "ring", **told})

        visitor = ask(history=["Thing 4", "Thing 5", "Thing 6"], top=2, because=True)
        assert {one["item"] for one in visitor["data"]} & {"t7", "t8"}
        assert visitor["known"] and visitor["data"][0]["because"][0]["fall"] > 0
        stranger = ask(user="nobody", freshness=0.5)
        assert not stranger["known"] and len(stranger["data"]) == 10
        with pytest.raises(openai.BadRequestError, match="ask /v1/recommend"):
            client.chat.completions.create(model="ring", messages=[{"role": "user", "content": "x"}])
        process.send_signal(signal.SIGTERM)
        assert process.wait(DRAIN) == 0
