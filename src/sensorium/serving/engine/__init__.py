"""The engine: requests share the model, token by token."""
