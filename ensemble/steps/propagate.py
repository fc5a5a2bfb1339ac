"""The step `propagate`."""

from rvos_ensemble.ensemble.steps.step import PropagatingStep


class Propagate(PropagatingStep):
    """Carries the mask of a key frame forward and backward through the video.

    Settings:
        input: whose masks.
        with: a name of the recipe's `propagators`.
        key_frame: which frame(s) to trust: a rule, or {rule: ..., ...}; see `propagators/core/key_frames.py`.
        scores_from: whose scores choose the key frame (one or several sources); the input's own when null.
        empty_key: what becomes of a sequence whose key frame holds no mask; see `propagators/core/propagate.py`.
    """
