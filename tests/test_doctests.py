"""The examples in docstrings give the results that they show."""

import doctest
import importlib
import pkgutil

import pytest

from rvos_ensemble import adapters, ensemble, propagators


def modules():
    yield "rvos_ensemble"
    for part in (adapters, propagators, ensemble):
        for module in pkgutil.walk_packages(part.__path__, f"{part.__name__}."):
            if not module.name.endswith("__main__"):
                yield module.name


EXAMPLES = [name for name in modules() if ">>> " in importlib.util.find_spec(name).loader.get_source(name)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert outcome.attempted and not outcome.failed
