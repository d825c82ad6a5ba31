"""OpenAI's routes, and ours beside them: what clients send and get."""
