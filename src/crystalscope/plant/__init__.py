"""Population balance of a batch: the mechanistic half of the twin."""
