"""Models that rank."""
