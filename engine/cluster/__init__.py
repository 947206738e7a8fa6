"""Reading, decoding and embedding by other processes, here or elsewhere; all else stays here."""
