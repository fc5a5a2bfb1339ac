"""The adapter `objects`: masks of the network in the frames that it sees, which become candidates."""

import pickle

import numpy as np
import pytest
import torch

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.frames import uniform
from rvos_ensemble.adapters.core.prediction import Objects, check_prediction
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.logits import grow
from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork
from rvos_ensemble.adapters.networks.candidates.selection import select
from rvos_ensemble.ensemble.fusion import tracklets
from rvos_ensemble.ensemble.recipe.components import make_component

SIZE = (50, 70)


class Images:
    size = SIZE

    def read(self, t):
        coarse = np.random.default_rng(t).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        return np.repeat(np.repeat(coarse, 10, 0), 10, 1)

    def fingerprint(self):
        return ""

    def problems(self):
        return []


CLIP = Clip("v", tuple(f"{t:05d}" for t in range(9)), (Expression("v", "0", "a dog"),), Images())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = CandidateNetwork(16, 64)
    torch.nn.init.normal_(network.scores.weight, std=0.3)  # scores that differ
    path = tmp_path_factory.mktemp("weights") / "candidates.pth"
    torch.save({"model": network.state_dict()}, path)
    return str(path)


def adapter(weights, **settings):
    values = {"adapter": "objects", "weights": weights, "threshold": 0, "k": 3, **settings}
    return make_component("adapter", values, "source x")


def test_objects_are_the_selected_masks_of_each_frame(weights):
    source = adapter(weights, most=4)
    objects = check_prediction(source.predict(CLIP), CLIP, "x")
    assert isinstance(objects, Objects) and source.check([CLIP]) == []
    network = open_checkpoint(weights).network()
    expected = {}
    for t in uniform(9, 3):
        image = preprocess.shrink(CLIP.read(t), (64, 96), "torchvision")[None]
        with torch.no_grad():  # as the adapter: with gradients, other kernels round differently
            best = select(network, network(image), 0, 4, min_area=0.0005)
        for rank, (logits, score) in enumerate(zip(best.logits.numpy(), best.scores.tolist(), strict=True)):
            expected[f"{t}.{rank}"] = t, grow(logits, SIZE) > 0, score
    assert len(expected) > 4 and objects.keys() == expected.keys()
    for name, (t, mask, score) in expected.items():
        found = objects[name]
        assert found.notes == {"key_frame": t} and (found.mask(t) == mask).all() and mask.any()
        assert found.scores[t] == pytest.approx(score) and found.scores.sum() == pytest.approx(score)
        assert not any(found.mask(other).any() for other in range(9) if other != t)


def test_objects_become_candidates(weights):
    objects = adapter(weights, k=2).predict(CLIP)
    found = tracklets.candidates({"x": objects}, tracklets.key_frames({"x": objects}, 9, 2), 0.0, 10)
    assert {f"x/{name.split('.')[0]}.{name}" for name in objects} == found.keys()


@pytest.mark.parametrize(("k", "frames"), [("all", 9), (1, 1), (50, 9)])
def test_number_of_frames(weights, k, frames):
    objects = adapter(weights, k=k, most=1).predict(CLIP)
    assert {name.split(".")[0] for name in objects} <= {str(t) for t in uniform(9, frames)}
    assert len(objects) == frames


def test_thresholds(weights):
    every = adapter(weights).predict(CLIP)
    best = max(float(s.scores.max()) for s in every.values())
    assert len(adapter(weights, threshold=best * 0.999).predict(CLIP)) < len(every)
    assert adapter(weights, threshold=1).predict(CLIP) == {}
    large = adapter(weights, min_area=0.3).predict(CLIP)
    assert all(s.mask(s.notes["key_frame"]).mean() > 0.25 for s in large.values())
    assert adapter(weights, short_side=32).network.input_size(SIZE, 32) == (32, 32)


def test_it_is_pickled_as_its_settings_and_rates_its_weights(weights, tmp_path):
    source = adapter(weights)
    first = source.predict(CLIP)
    copy = pickle.loads(pickle.dumps(source))
    assert "network" not in vars(copy) and copy.fingerprint(CLIP) == source.fingerprint(CLIP)
    again = copy.predict(CLIP)
    assert again.keys() == first.keys() and all((again[k].scores == first[k].scores).all() for k in first)
    other = torch.load(weights)["model"]
    torch.save({"model": {**other, "scores.bias": other["scores.bias"] + 1}}, tmp_path / "other.pth")
    assert adapter(str(tmp_path / "other.pth")).fingerprint(CLIP) != source.fingerprint(CLIP)


def test_wrong_weights_and_settings(tmp_path):
    (problem,) = adapter(str(tmp_path / "none.pth")).check([CLIP])
    assert "none.pth: no such file" in problem
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    (problem,) = adapter(str(tmp_path / "x.pth")).check([CLIP])
    assert "x.pth" in problem and "train candidates" in problem
    with pytest.raises(InputError) as error:
        adapter(str(tmp_path / "x.pth"), k=0, precision="fp16", min_area=1)
    assert len(error.value.problems) == 3
