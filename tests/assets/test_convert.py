"""Conversions, on what can be made by hand; the real ones are in test_real.py."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.assets.convert import ctranslate2_file, efficientnet, emoji, movielens, whisper

# -- emoji -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codepoints, concept, gender",
    [
        ("1F913", "1f913", ""),
        ("0023-FE0F-20E3", "23-20e3", ""),
        ("1F3C3-200D-2640-FE0F-200D-27A1-FE0F", "1f3c3", "female"),  # woman running, facing right
        ("1F3C3-1F3FD-200D-2642-FE0F", "1f3c3", "male"),
        ("2640-FE0F", "2640", ""),  # the sign by itself is a thing of its own
        ("27A1-FE0F", "27a1", ""),
        ("1F468-200D-1F680", "1f9d1-1f680", "male"),  # man astronaut
        ("1F469-200D-1F469-200D-1F467", "1f9d1-1f9d1-1f9d2", "female+female+female"),
        ("1F934", "1fac5", "male"),
    ],
)
def test_concepts_forget_tone_gender_and_direction(codepoints: str, concept: str, gender: str) -> None:
    assert emoji.concept_of(codepoints) == concept and emoji.gender_of(codepoints) == gender


@given(
    st.sampled_from(["1F3C3", "1F46E", "1F9D1-200D-1F680", "1F468-200D-1F373"]),
    st.sampled_from([None, *emoji.TONES]),
    st.sampled_from([None, *emoji.SIGNS]),
    st.booleans(),
)
def test_variants_share_a_concept(base: str, tone: str | None, sign: str | None, right: bool) -> None:
    first, *rest = base.split("-")
    points = [first, *([tone] if tone else []), *rest]
    points += ["200D", sign, "FE0F"] if sign else []
    points += ["200D", "27A1", "FE0F"] if right else []
    assert emoji.concept_of("-".join(points)) == emoji.concept_of(base)


def test_pictures_in_common_join_concepts() -> None:
    import io

    from PIL import Image

    def picture(colour: str) -> dict[str, bytes]:
        file = io.BytesIO()
        Image.new("RGBA", (4, 4), colour).save(file, "PNG")
        return {"bytes": file.getvalue()}

    colours = ["red", "blue", "red", "green", "blue", "red"]
    concepts = ["a", "b", "c", "d", "c", "e"]
    rows = [
        {"id": f"row-{number}", "concept": concept, "picture": picture(colour)}
        for number, (concept, colour) in enumerate(zip(concepts, colours))
    ]
    emoji._join(rows, [])
    assert [row["concept"] for row in rows] == ["row-0", "row-0", "row-0", "row-3", "row-0", "row-0"]


# -- CTranslate2 -------------------------------------------------------------------------------------


def model_bin(variables: dict[str, np.ndarray], aliases: dict[str, str], version: int = 6) -> bytes:
    """The inverse of read_variables, written from the format's description."""
    numbers = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}

    def text(value: str) -> bytes:
        encoded = value.encode() + b"\0"
        return struct.pack("<H", len(encoded)) + encoded

    out = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        out += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += struct.pack("<BI", numbers[array.dtype], array.nbytes) + array.tobytes()
    out += struct.pack("<I", len(aliases))
    return out + b"".join(text(alias) + text(name) for alias, name in aliases.items())


arrays = st.tuples(
    st.sampled_from([np.float32, np.float16, np.int16, np.int8]), st.lists(st.integers(1, 4), max_size=3)
).map(lambda pair: np.arange(int(np.prod(pair[1]))).astype(pair[0]).reshape(pair[1]))


@given(variables=st.dictionaries(st.text("abc/_0", min_size=1, max_size=9), arrays, min_size=1, max_size=5))
def test_variables_come_back(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, np.ndarray]) -> None:
    path = tmp_path_factory.mktemp("ct2") / "model.bin"
    first = next(iter(variables))
    path.write_bytes(model_bin(variables, {"an/alias": first}))
    found = ctranslate2_file.read_variables(path)
    assert list(found) == [*variables, "an/alias"]
    for name, array in variables.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
        assert found[name].shape == array.shape
    assert np.array_equal(found["an/alias"], variables[first])


def test_other_files_are_refused(tmp_path: Path) -> None:
    whole = model_bin({"a": np.zeros((2, 3), np.float32)}, {"b": "a"})
    cases = {
        "version 5": model_bin({}, {}, version=5),
        "not a whole": whole[:-4],
        "2 bytes too many": whole + b"\0\0",
        "unknown type 9": whole.replace(struct.pack("<BI", 0, 24), struct.pack("<BI", 9, 24)),
    }
    for message, data in cases.items():
        (tmp_path / "model.bin").write_bytes(data)
        with pytest.raises(ValueError, match=message):
            ctranslate2_file.read_variables(tmp_path / "model.bin")
    for end in range(len(whole)):  # wherever it is cut, it is refused
        (tmp_path / "model.bin").write_bytes(whole[:end])
        with pytest.raises(ValueError):
            ctranslate2_file.read_variables(tmp_path / "model.bin")


def test_quantised_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="quantised"):
        whisper.weights({"encoder/conv1/weight_scale": np.zeros(1)})


# -- the others --------------------------------------------------------------------------------------


def test_names_of_the_network() -> None:
    assert efficientnet.renamed("_blocks.12._bn1.running_var") == "blocks.12.depthwise.norm.running_var"
    assert efficientnet.renamed("_bn1.weight") == "top.norm.weight"
    assert efficientnet.renamed("_fc.bias") == "classifier.bias"
    with pytest.raises(KeyError, match="unknown"):
        efficientnet.renamed("unknown.weight")


def test_films_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "recbole" / "recbole" / "dataset_example" / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "ml-100k.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(ValueError, match=re.escape("ml-100k.inter has 1 rows instead of 100,000")):
        movielens.convert(tmp_path / "in", tmp_path)
