"""Jobs of translation."""
