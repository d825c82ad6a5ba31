"""Jobs of pretraining."""
