"""Keys of the store: two keys are equal when everything that a result depends on is equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.ensemble.engine.storage.store import key_of
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.steps.step import NAMES, Step


def keys_of(recipe: Recipe, clip: Clip, known: dict[int, str] | None = None) -> dict[str, str]:
    """The key of every source and step of a recipe for one clip.

    A key covers the clip's names, expressions and size; the settings, version and own code of the component; for a
    model or propagator its weights and the pictures; for mask files their bytes; for a step the keys of its inputs.

    Args:
        recipe: the recipe.
        clip: the clip.
        known: {id of an adapter: its key for this clip}, read and extended, so that recipes that share adapters hash
            their files once.

    Returns:
        {source or step: key}, sources first, both in the recipe's order.

    Raises:
        InputError: a file that a component reads is missing or damaged.
    """
    known = {} if known is None else known
    about = [clip.name, clip.frames, clip.size, [[e.id, e.text, e.objects] for e in clip.expressions]]
    keys = {}
    for name, adapter in recipe.sources.items():
        if id(adapter) not in known:
            pictures = clip.fingerprint if adapter.stored else ""
            known[id(adapter)] = key_of("source", about, _identity(adapter), adapter.fingerprint(clip), pictures)
        keys[name] = known[id(adapter)]
    for name, step in recipe.steps.items():
        own = [f for f in [step.fingerprint(clip)] if f]
        named = _named_by_settings(step)
        own += [keys[i] for i in step.inputs if i not in named]  # such as those of the jurors of a gate
        if step.propagator:
            propagator = recipe.propagators[step.propagator]
            own += [_identity(propagator), propagator.fingerprint(), clip.fingerprint]
        keys[name] = key_of("step", about, _class_of(step), _settings_by_key(step, keys), own)
    return keys


def _identity(component: Component) -> list[Any]:
    """What a component is, apart from data: its class, version, code where it is a user's file, and settings."""
    return [*_class_of(component), _with_hashes(vars(component.settings))]


def _class_of(component: Component) -> list[Any]:
    cls = type(component)
    code = file_hash(file_stamp(cls.file)) if cls.file else ""
    return [cls.__module__, cls.__qualname__, cls.version, code]


def _named_by_settings(step: Step) -> set[str]:
    """The inputs that `_settings_by_key` replaces by their keys."""
    values = [getattr(step.settings, name, None) or () for name in NAMES]
    return {name for value in values for name in ([value] if isinstance(value, str) else value)}


def _settings_by_key(step: Step, keys: Mapping[str, str]) -> dict[str, Any]:
    """The settings with inputs named by their keys and without the propagator's name: the user chooses names freely."""
    settings = {}
    for name, value in vars(step.settings).items():
        if name in NAMES and value is not None:
            value = keys[value] if isinstance(value, str) else [keys[v] for v in value]
        if name != "with":
            settings[name] = _with_hashes(value)
    return settings


def _with_hashes(value: Any) -> Any:
    """Settings in which every `file` is accompanied by the hash of its content."""
    if not isinstance(value, Mapping):
        return value
    return {
        k: [v, file_hash(file_stamp(user_path(v)))] if k == "file" and v else _with_hashes(v) for k, v in value.items()
    }
