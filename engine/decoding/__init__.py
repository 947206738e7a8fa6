"""From bytes to the pixels that the encoder sees."""
