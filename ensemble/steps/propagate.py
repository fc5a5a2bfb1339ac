"""The step `propagate`."""

from rvos_ensemble.ensemble.steps.step import PropagatingStep


class Propagate(PropagatingStep):
    """Propagates the mask of a key frame forward and backward through the video.

    Settings:
        input: the source or step whose masks are propagated.
        with: the name of one of the recipe's `propagators`.
        key_frame: the rule that chooses the key frame(s), or {rule: ..., ...}; see `propagators/core/key_frames.py`.
        scores_from: one or several sources whose scores choose the key frame; null for the scores of the input.
        empty_key: what to do if the mask of the key frame is empty; see `propagators/core/propagate.py`.
    """
