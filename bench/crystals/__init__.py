"""Training sets, scores and comparisons of the network `crystals`."""
