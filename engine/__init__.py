"""The engine: a file becomes a crop, a vector, a verdict, a report."""
