"""Data sets that come with Sensorium."""
