"""What networks read: frames as tensors, sentences as tokens."""
