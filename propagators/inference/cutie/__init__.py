"""What runs Cutie on a clip: the memories of each sequence, and one batch for all sequences."""
