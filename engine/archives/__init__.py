"""Walks archives and mail without unpacking anything to disk."""
