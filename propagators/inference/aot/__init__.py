"""What runs AOT and DeAOT on a clip: one network and one batch for all sequences."""
