"""Checkpoints of SAM 2, EdgeTAM and SAM 3: every layout loads the same weights, and bad ones end in a sentence."""

import pytest
import torch
from helpers.tiny_sam import KINDS, tiny_sam, write_folder

from rvos_ensemble.propagators.inference.sam.loading import load_sam


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_in_the_hugging_face_layout_loads_its_weights(tmp_path, kind, shards):
    network = tiny_sam(kind)
    write_folder(tmp_path, network, shards)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards > 1)
    loaded = load_sam(tmp_path, kind)
    assert not loaded.training
    expected, found = network.state_dict(), loaded.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[k], found[k]) for k in expected)
    buffers = dict(network.named_buffers())  # those that no file holds, too
    assert all(torch.equal(b, buffers[n]) for n, b in loaded.named_buffers())
    assert not any(p.requires_grad for p in loaded.parameters())
