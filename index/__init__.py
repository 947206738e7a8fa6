"""Galleries and scans on disk: SQLite is the truth, FAISS is derived."""
