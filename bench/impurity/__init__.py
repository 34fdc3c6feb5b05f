"""Impurities on rendered slurries and on real crops."""
