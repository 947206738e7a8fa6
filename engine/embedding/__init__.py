"""The encoder and what runs it: weights, passes, precisions, devices."""
