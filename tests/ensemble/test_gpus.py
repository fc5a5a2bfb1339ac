"""Sharing GPUs out among workers, without a GPU: what is asked of torch is recorded."""

import multiprocessing
import os
from types import SimpleNamespace

import pytest
import torch

from rvos_ensemble.ensemble.engine.workers.gpus import take_gpu
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.propagators.flow import Flow


def worker(folder, count, answers, done, first=0):
    """Takes a GPU; `first` is the number on the machine of what this process sees as GPU 0."""
    torch.cuda.device_count = lambda: count
    torch.cuda.set_device = lambda i: answers.put(first + i)
    torch.cuda.get_device_properties = lambda i: SimpleNamespace(uuid=f"GPU-{first + i}")
    assert take_gpu(folder) == take_gpu(folder), "networks stay where they were made"
    done.wait(60)


@pytest.mark.parametrize(("workers", "gpus"), [(3, 3), (2, 4), (4, 2)])
def test_every_worker_gets_a_gpu_of_its_own_while_there_are(tmp_path, workers, gpus):
    context = multiprocessing.get_context("fork")
    answers, done = context.Queue(), context.Event()
    processes = [context.Process(target=worker, args=(tmp_path, gpus, answers, done)) for _ in range(workers)]
    for p in processes:
        p.start()
    taken = [answers.get(timeout=60) for _ in range(2 * workers)]
    done.set()
    for p in processes:
        p.join()
    assert set(taken) <= set(range(gpus)) and len(set(taken)) == min(workers, gpus)


def test_gpus_are_told_apart_where_processes_see_different_ones(tmp_path):
    context = multiprocessing.get_context("fork")
    answers, done = context.Queue(), context.Event()
    processes = [context.Process(target=worker, args=(tmp_path, 2, answers, done, first)) for first in (0, 0, 2, 2)]
    for p in processes:
        p.start()
    taken = [answers.get(timeout=60) for _ in range(8)]
    done.set()
    for p in processes:
        p.join()
    assert sorted(set(taken)) == [0, 1, 2, 3]


def test_a_gpu_is_free_again_when_its_worker_is_gone(tmp_path):
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        answers, done = context.Queue(), context.Event()
        p = context.Process(target=worker, args=(tmp_path, 2, answers, done))
        p.start()
        assert answers.get(timeout=60) == 0
        done.set()
        p.join()


def test_a_machine_without_a_gpu_takes_none(monkeypatch):
    """Whether there is one is asked in the worker: on a cluster, the machine that starts the run may have none."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", None)
    assert take_gpu() is None


def test_one_worker_a_gpu_where_a_component_uses_gpus(monkeypatch):
    plain = [
        "recipe=stage2",
        "predictions=masks",
        "propagators.aot.propagator=flow",
        "propagators.deaot.propagator=flow",
    ]
    recipe = load(plain)
    assert recipe.gpus == 0 and recipe.engine["workers"] == os.cpu_count()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(Flow, "uses_gpu", True)
    assert recipe.gpus == 3 and recipe.engine["workers"] == 3
    assert load([*plain, "engine.workers=5"]).engine["workers"] == 5
