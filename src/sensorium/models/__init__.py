"""The model: encoders, fusions, the GPT, heads, decoding, and the processor that feeds them."""
