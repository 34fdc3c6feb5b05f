"""Benchmarks of the labelling network, and how the shipped one is made."""
