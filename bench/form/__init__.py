"""Shares of classes and degree of agglomeration in simulated runs."""
