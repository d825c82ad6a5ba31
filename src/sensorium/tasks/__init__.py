"""Tasks: what is asked of the model. Each owns its targets, its loss and its answers."""
