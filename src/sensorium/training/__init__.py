"""One training loop and what it stands on: batches, optimiser, checkpoints, cached features, curves.

Model, task, batches and the function that validates are injected; ``loop.train`` puts them together.
"""
