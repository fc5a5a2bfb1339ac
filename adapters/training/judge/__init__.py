"""Training of the judge, which decides whether an expression refers to anything in a clip.

Samples are clips with expressions that refer to one object, several or none, and tracklets that are the true objects
with the errors of real tracklets, unions of them, and distractors (see `adapters/training/grounding`).
"""

from rvos_ensemble.adapters.training.judge.task import DEFAULTS, JudgeTask, make_task

__all__ = ["DEFAULTS", "JudgeTask", "make_task"]
