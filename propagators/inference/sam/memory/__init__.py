"""What a sequence remembers: its bounded bank of frames, how they are encoded, and how a frame reads them."""
