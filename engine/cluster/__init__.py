"""Reading, decoding and embedding on the workers of a cluster; all else stays where it was."""
