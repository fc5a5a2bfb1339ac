"""Pre-training of backbones on cropped objects: the crops, that it learns, and that networks start from its weights."""

import numpy as np
import pytest
import torch

from run_ensemble import main
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext
from rvos_ensemble.adapters.training import pretrain_backbone, segmenters, uninext
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.partial_weights import load_parts
from rvos_ensemble.ensemble.engine.storage.folders import owned


def test_crops_show_the_object_of_their_labels():
    """The median colour of the object is closer to the labelled colour than to most others, in any light."""
    clips, ranks = pretrain_backbone.ObjectCrops(3), []
    for square, cover, (_, colour, _) in (cut for i in range(30) for cut in clips[i]):
        assert square.shape == (3, pretrain_backbone.SIDE, pretrain_backbone.SIDE) and 0.02 < cover.mean() < 0.95
        seen = square.numpy().transpose(1, 2, 0)[cover.numpy() > 0.9] * preprocess.STD + preprocess.MEAN
        named = np.array(list(COLOURS.values())) / 255
        distance = np.linalg.norm(_hue(named) - _hue(np.median(seen, 0)), axis=1)
        ranks.append((distance < distance[colour]).sum())
    assert len(ranks) > 60 and np.mean(ranks) < 1.5, "4.5 would be chance"


def _hue(colours):
    return (colours - colours.mean(-1, keepdims=True)) / (np.linalg.norm(colours, axis=-1, keepdims=True) + 1e-3)


def test_crops_depend_on_seed_and_number_alone():
    (a, _, _), (b, _, _) = (pretrain_backbone.ObjectCrops(1)[5][0] for _ in range(2))
    assert (a == b).all()
    assert (
        pretrain_backbone.ObjectCrops(2)[5][0][0].sum()
        != a.sum()
        != pretrain_backbone.ObjectCrops(1, "val")[5][0][0].sum()
    )


def test_an_object_at_the_border_is_cropped_whole():
    image, mask = np.zeros((*pretrain_backbone.FRAME_SIZE, 3), np.uint8), np.zeros(pretrain_backbone.FRAME_SIZE, bool)
    image[:30, -40:], mask[:30, -40:] = 255, True
    square, cover = pretrain_backbone._crop(image, mask, np.random.default_rng(0))
    side = (30 * 40 / cover.mean().item()) ** 0.5  # of the square, in pixels of the picture
    assert 40 * pretrain_backbone.MARGIN[0] - 2 < side < 40 * pretrain_backbone.MARGIN[1] + 2
    assert square[:, cover > 0.99].min() > 1.9, "all of these pixels belong to the object"


@pytest.mark.parametrize("backbone", pretrain_backbone.PREFIXES)
def test_a_backbone_learns_and_its_network_starts_from_it(backbone, tmp_path):
    task = pretrain_backbone.make_task(backbone, {})
    batch = task.collate([task.samples()[i] for i in range(2)])
    task.samples, task.collate = lambda: [None] * 100, lambda _: batch
    before = sum(v.item() for v in task.losses(batch, 0).values())
    path = loop.fit(task, {"steps": 20, "batch": 1, "lr": 3e-3, "validate_every": 20, "ema": 0.0}, tmp_path)
    after = sum(v.item() for v in task.losses(batch, 0).values())
    assert after < before / 2
    assert set(task.validate(task.network.eval())) == {"Shape", "Colour", "Pattern"}

    kept = {k.removeprefix(pretrain_backbone.PREFIXES[backbone]): v for k, v in torch.load(path)["model"].items()}
    resumed = pretrain_backbone.make_task(backbone, {"seed": 1, "pretrained": str(path)}).network.body.state_dict()
    assert kept and all(torch.equal(weight, resumed[name]) for name, weight in kept.items())
    if backbone == "resnet_nano":
        network = segmenters.make_task("soc", {"pretrained": str(path)}).network
        own = network.backbone[0].body.layer3[0].conv2.weight
    else:
        network = uninext.make_task("uninext", {"pretrained": str(path)}).network
        own = network.detr.detr.backbone[0].backbone.stages[2][0].pwconv1.weight
        assert isinstance(network, Uninext)
    assert any(torch.equal(own, w) for w in task.network.parameters())


def test_the_command_trains_a_backbone(tmp_path, capsys):
    settings = ["steps=2", "batch=2", "validate_every=2", f"out={tmp_path}"]
    assert main(["train", "backbone=resnet_nano", *settings]) == 0
    assert "Shape 0." in capsys.readouterr().out and (tmp_path / "card.md").read_text().startswith("# resnet_nano")
    assert main(["train", "backbone=resnet_nano", "data=FOLDER", *settings]) == 2
    assert "`data` is 'FOLDER', expected one of shapes" in capsys.readouterr().err
    other = f"pretrained={tmp_path / 'weights.pth'}"
    assert main(["train", "backbone=resnet_nano", other, *settings]) == 2
    assert "a run with pretrained=None (now" in capsys.readouterr().err
    with owned(tmp_path, "training"):
        assert main(["train", "backbone=resnet_nano", *settings]) == 2
    assert "another run is working in this folder" in capsys.readouterr().err
    assert main(["train", "backbone=resnet_nano", "size=[1"]) == 2


def test_a_file_without_the_parts_asked_for_is_refused(tmp_path):
    path = tmp_path / "head.pth"
    torch.save({"model": {"head.weight": torch.zeros(3)}}, path)
    with pytest.raises(InputError, match=r"head\.pth: has neither `backbone\.\*` nor `text_encoder\.\*`.*head\.weight"):
        load_parts(torch.nn.Linear(2, 2), str(path))
