"""Vectors and classifiers made elsewhere: files that are read and never executed."""
