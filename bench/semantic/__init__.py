"""The published three-class network: shipped weights, the comparison of the paper, speed."""
