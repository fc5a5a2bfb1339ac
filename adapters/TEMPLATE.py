"""My model: one line that `run_ensemble.py list` would show.

Copy this file, write `predict`, and name it in a recipe: `sources: {mine: {adapter: path/to/my_model.py}}`.
In this folder, a file `my_model.py` is `adapter: my_model`. CONTRIBUTING.md has the ten lines on how to add one.
"""

import numpy as np

from rvos_ensemble.adapters import Adapter, Clip, MaskSequence, Prediction


class MyModel(Adapter):
    """My model, in one line."""

    # every setting that a recipe may give; `"???"` marks one that it must give. A value must be of the default's type;
    # adapters/core/settings.py has ranges and choices: {"threshold": number(0.5, above=0, below=1)}
    defaults = {"threshold": 0.5}

    def predict(self, clip: Clip) -> Prediction:
        """Masks of every expression: here whatever is brighter than the frame's mean."""
        result = {}
        for expression in clip.expressions:  # expression.text is the sentence
            masks, scores = [], []
            for t in range(len(clip)):
                image = clip.read(t)  # uint8 [H, W, 3] RGB
                prob = image.mean(axis=2) / 255  # your model's probability, float [H, W]
                masks.append(prob > self.settings.threshold)
                scores.append(float(prob.max()))
            # or MaskSequence.prob(quantise(probs)) to keep soft masks; leave scores out when there are none
            result[expression.id] = MaskSequence.binary(np.stack(masks), scores)
        return result
