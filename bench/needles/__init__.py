"""Needles: lengths in space and calibration."""
