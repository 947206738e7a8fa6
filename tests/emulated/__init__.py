"""The forward pass in C beside PyTorch, on processors that are not at hand."""
