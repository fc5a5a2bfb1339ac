"""SAM 3's detector of concepts. The propagator of the same name is SAM 3's tracker; one folder holds both.

Source: Carion et al., "SAM 3: Segment Anything with Concepts", arXiv 2511.16719.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rvos_ensemble.adapters.inference.transformers_models.expression_adapter import KeyFrameExpressionAdapter

if TYPE_CHECKING:
    from rvos_ensemble.adapters.inference.transformers_models.concepts import Concepts


class Sam3Adapter(KeyFrameExpressionAdapter):
    """SAM 3's detector, text to masks on key frames: needs `weights`, such as facebook/sam3; states presence."""

    states_presence: ClassVar[bool] = True
    score = "instance times presence, of the best instance of the frame"

    def open(self) -> Concepts:
        """See `KeyFrameAdapter.open`."""
        from rvos_ensemble.adapters.inference.transformers_models.concepts import Concepts

        return Concepts(vars(self.settings))
