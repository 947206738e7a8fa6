"""Nearest neighbours: FAISS files, cells, exact rows, and the indexes on them."""
