"""Recipes in a worker process."""

from __future__ import annotations

import json
from functools import lru_cache

import cv2

from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.ensemble.engine.gpus import take_gpu
from rvos_ensemble.ensemble.recipe.recipe import Recipe


@lru_cache(maxsize=4)
def built(name: str, configs: str, gpus: int) -> list[Recipe]:
    """Recipes, built once per process: they share their components, and models are loaded once.

    Args:
        name: of all of them.
        configs: their resolved configs, as the json text of a list.
        gpus: how many GPUs there are for their components; 0 where none uses one. The process takes one of them.
    """
    cv2.setNumThreads(1)  # clips are the unit of parallel work
    if gpus:
        take_gpu(gpus)
    made: dict[str, Component] = {}
    return [Recipe.build(name, config, made) for config in json.loads(configs)]
