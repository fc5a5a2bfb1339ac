"""Inputs: data sets, models and mask files."""

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, quantise
from rvos_ensemble.adapters.core.prediction import Prediction

__all__ = ["Adapter", "Clip", "Expression", "InputError", "MaskSequence", "Prediction", "quantise"]
