"""What networks return: instances of frames, and masks of clips made of them."""
