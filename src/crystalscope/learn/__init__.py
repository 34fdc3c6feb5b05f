"""Training of networks; everything in it needs the extra `train`."""
