"""From files to vectors: what runs a scan's or a build's reading, decoding and embedding."""
