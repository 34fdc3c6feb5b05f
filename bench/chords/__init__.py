"""Chord lengths against what is known exactly."""
