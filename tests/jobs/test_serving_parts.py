"""What a run answers over HTTP beside the engine: speech."""

from __future__ import annotations

import io

import pytest
import soundfile

from sensorium import assets
from sensorium.assets.speech import synthesise
from sensorium.errors import MediaError
from sensorium.jobs.serving_parts import whisper


@pytest.mark.real
def test_a_spoken_question_is_written_down() -> None:
    assets.locate("whisper-tiny.en")
    hear = whisper()
    assert hear is not None
    samples, rate = synthesise("What color is the fox in this picture?")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    spoken = hear(file.getvalue(), None, None)
    assert spoken.text.lower().strip(" ?.") == "what color is the fox in this picture"
    assert (spoken.language, round(spoken.seconds, 1)) == ("en", round(len(samples) / rate, 1))
    assert spoken.segments[0][0] == 0.0 and spoken.segments[-1][1] <= spoken.seconds + 1
    with pytest.raises(MediaError, match="no sound"):
        hear(b"hello", None, None)
