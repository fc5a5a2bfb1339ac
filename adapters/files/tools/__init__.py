"""Readers of the files that published models and tools write."""
