"""How good verdicts are, on labelled images."""
