"""My model: one line that `run_ensemble.py list` shows.

Copy this file, write `predict`, and name the file in a recipe: `sources: {mine: {adapter: path/to/my_model.py}}`.
In this folder, a file `my_model.py` is named `adapter: my_model`. CONTRIBUTING.md has an example of each kind of
adapter.
"""

import numpy as np

from rvos_ensemble.adapters import Adapter, Clip, MaskSequence, Prediction


class MyModel(Adapter):
    """My model, in one line."""

    # All settings with their defaults; "???" marks a required one. A value must have the type of its default; for
    # ranges and choices see adapters/core/settings.py: {"threshold": number(0.5, above=0, below=1)}
    defaults = {"threshold": 0.5}

    def predict(self, clip: Clip) -> Prediction:
        """Masks of every expression: here, all pixels that are brighter than `threshold`."""
        result = {}
        for expression in clip.expressions:  # expression.text is the sentence
            masks, scores = [], []
            for t in range(len(clip)):
                image = clip.read(t)  # uint8 [H, W, 3] RGB
                prob = image.mean(axis=2) / 255  # your model's probability, float [H, W]
                masks.append(prob > self.settings.threshold)
                scores.append(float(prob.max()))
            # MaskSequence.prob(quantise(probs)) keeps probabilities; omit the scores if the model has none
            result[expression.id] = MaskSequence.binary(np.stack(masks), scores)
        return result
