"""Benchmarks of the population balance."""
