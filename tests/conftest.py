"""Fixtures that every test may use."""

import os
from pathlib import Path

# Before NumPy is imported: one thread for each process, and for its children. Arrays here are small, so threads wait
# for each other longer than they work, and the tests themselves run in parallel.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"))
# Golden numbers are those of float32, also on processors on which `precision: auto` is bfloat16.
os.environ["RVOS_PRECISION"] = "fp32"

import hypothesis
import pytest
import torch
from helpers.forks import Forks
from helpers.seeded import weights_of
from helpers.tiny import make_tiny

# Nothing here survives a crash of the machine, and a disk that is flushed dozens of times per run waits for each flush.
os.fsync = lambda file: None

hypothesis.settings.register_profile("unhurried", deadline=None)  # how long an example takes says nothing here
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the checkout with golden numbers and a little real video; not part of the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the checkout: golden numbers and real video are not part of the repository")
    return folder


@pytest.fixture
def tiny(tmp_path):
    """A tiny benchmark with three models' masks, made for this test alone."""
    return make_tiny(tmp_path)


@pytest.fixture(scope="session")
def forking_process():
    """A process that has loaded everything, which takes seconds."""
    made = Forks()
    yield made
    made.close()


@pytest.fixture
def forks(forking_process, tmp_path):
    """Runs commands in forks of a process that has loaded everything, see `forks.py`."""
    forking_process.home = tmp_path
    yield forking_process
    forking_process.finish()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """name of a variant of a propagator -> path of a checkpoint with seeded weights in the official layout."""
    folder, made = tmp_path_factory.mktemp("weights"), {}

    def path(name):
        if name not in made and name in ("sam2", "edgetam", "sam3"):
            from helpers.sam_models import quick_sam  # here, because it imports transformers
            from helpers.tiny_sam import write_folder

            made[name] = write_folder(folder / name, quick_sam(name))
        elif name not in made:
            made[name] = folder / f"{name}.pth"
            torch.save({"state_dict": weights_of(name), "optimizer": {"state": {}}}, made[name])
        return made[name]

    return path
