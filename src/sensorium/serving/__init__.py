"""Serving: a tuned model behind HTTP, in the form that OpenAI's clients already speak."""
