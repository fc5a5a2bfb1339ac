"""Recipes in a worker process."""

from __future__ import annotations

import json
from functools import lru_cache

import cv2

from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.ensemble.engine.workers.gpus import take_gpu
from rvos_ensemble.ensemble.recipe.recipe import Recipe


@lru_cache(maxsize=4)
def built(name: str, configs: str, gpu: bool) -> list[Recipe]:
    """Recipes, built once per process: they share their components, and models are loaded once.

    Args:
        name: of all of them.
        configs: their resolved configs, as the json text of a list.
        gpu: whether a component uses a GPU: the process takes one of those of its machine.
    """
    cv2.setNumThreads(1)  # clips are the unit of parallel work
    if gpu:
        take_gpu()
    made: dict[str, Component] = {}
    return [Recipe.build(name, config, made) for config in json.loads(configs)]
