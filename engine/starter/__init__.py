"""The embedded starter: an encoder and a gallery that the package ships."""
