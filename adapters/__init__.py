"""What comes in: data sets, models and mask files."""

from adapters.adapter import Adapter
from adapters.sequence import Clip, Expression, InputError, MaskSequence, Prediction, quantise

__all__ = ["Adapter", "Clip", "Expression", "InputError", "MaskSequence", "Prediction", "quantise"]
