"""Simulated plants for benchmarks of the design of experiments."""
