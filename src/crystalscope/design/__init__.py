"""Table of experiments -> twin -> Pareto front -> recipe and next experiments."""
