"""SAM networks in memory as the propagators hold them, without a file of weights."""

from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.propagators.inference.sam.model import SamModel
from rvos_ensemble.propagators.inference.sam.settings import DEFAULTS


def sam_model(network, kind, **settings):
    """A `SamModel` on the CPU around a network of transformers."""
    values = defaults_of(DEFAULTS) | {"weights": "", "device": "cpu"}
    return SamModel(values | settings, kind, network)
