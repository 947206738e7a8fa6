"""Decoding what could crash or hang, in processes that may be lost."""
