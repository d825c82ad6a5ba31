"""Jobs of drawing."""
