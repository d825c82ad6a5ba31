"""Pictures as tokens: the tokenizer of pictures, and what reads and writes its codes."""
