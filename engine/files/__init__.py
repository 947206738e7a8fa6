"""Which files there are, here and at addresses, and their bytes."""
