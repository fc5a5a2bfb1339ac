"""Every kind of step that comes with the package, {op: class}."""

from rvos_ensemble.ensemble.recipe.parts import class_of, components

OPS = {name: class_of("op", name) for name in components("op")}
