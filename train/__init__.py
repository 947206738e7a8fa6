"""Training of the CoDE encoder."""
