"""Checking, saving and deleting: what keeps a workspace sound."""
