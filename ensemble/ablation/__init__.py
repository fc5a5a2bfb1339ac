"""What each threshold, weight, model and step of a recipe is worth: `python run_ensemble.py ablate recipe=...`."""

from rvos_ensemble.ensemble.ablation.run import run

__all__ = ["run"]
