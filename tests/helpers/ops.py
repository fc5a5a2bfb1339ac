"""Every kind of step that comes with the package, {op: class}."""

from rvos_ensemble.ensemble.recipe.components import class_of, list_components

OPS = {name: class_of("op", name) for name in list_components("op")}
