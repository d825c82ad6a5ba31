"""Jobs of recommendation."""
