"""From similarities to verdicts that can be defended."""
