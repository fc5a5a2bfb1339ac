"""What each threshold, weight, model and step of a recipe is worth; the command is `ensemble/commands/ablate.py`."""
