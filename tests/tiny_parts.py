"""Tiny random-weight pretrained parts on disk, as a user's own model folders would be."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperModel,
)

from sensorium.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig

CHAT = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tokenizer(folder: Path, *, chat: bool = True, bert: bool = False) -> int:
    """A byte-level tokenizer; returns the size of its vocabulary."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["[PAD]", "<|start|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["what is it? red blue green circle square yes no"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", bos_token="<|start|>", eos_token="<|end|>", model_max_length=128
    )
    if chat:
        fast.chat_template = CHAT
    fast.save_pretrained(folder)
    return len(fast)


def llama(folder: Path, layers: int = 4) -> Path:
    torch.manual_seed(0)
    size = tokenizer(folder)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def gpt2(folder: Path) -> Path:
    torch.manual_seed(0)
    size = tokenizer(folder, chat=False)
    config = GPT2Config(
        vocab_size=size, n_embd=32, n_layer=3, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def vit(folder: Path) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def efficientnet(folder: Path) -> Path:
    """With batch normalisation, whose statistics are not those of any one batch."""
    torch.manual_seed(0)
    config = EfficientNetLiteConfig(hidden_size=16, num_classes=0, stem_channels=4, stages=[(1, 3, 2, 2, 8)])
    model = EfficientNetLite(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    model.save_pretrained(folder)
    return folder


def whisper(folder: Path) -> Path:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=1500,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    WhisperModel(config).save_pretrained(folder)
    return folder


def wav2vec2(folder: Path) -> Path:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(10, 16),
        conv_kernel=(10, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    return folder


def bert(folder: Path) -> Path:
    torch.manual_seed(0)
    size = tokenizer(folder, chat=False)
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    return folder


MAKERS = {
    "llama": llama,
    "gpt2": gpt2,
    "vit": vit,
    "efficientnet": efficientnet,
    "whisper": whisper,
    "wav2vec2": wav2vec2,
    "bert": bert,
}


def make(root: Path) -> dict[str, Path]:
    """Every tiny part in a folder of its own."""
    return {name: maker(root / name) for name, maker in MAKERS.items()}
