"""ReferFormer, MUTR and SOC: the official numbers, and what must not change them."""

import numpy as np
import pytest
import torch
from helpers.fanin import fill

from rvos_ensemble.adapters.networks.backbones import backbone as backbones
from rvos_ensemble.adapters.networks.backbones.resnet import ResNet
from rvos_ensemble.adapters.networks.backbones.swin import Swin
from rvos_ensemble.adapters.networks.interface import Text, join
from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d
from rvos_ensemble.adapters.networks.rvos.mutr import MUTR
from rvos_ensemble.adapters.networks.rvos.referformer import ReferFormer
from rvos_ensemble.adapters.networks.rvos.soc import SOC
from rvos_ensemble.adapters.networks.text import ROBERTA, encode, roberta

NETWORKS = {"referformer": ReferFormer, "mutr": MUTR, "soc": SOC}
FAST = ("referformer/golden_swin_t_p4w7.npz", "soc/golden_video-swin-t.npz")


def close(a, b, tolerance=1e-5):
    """Whether they differ by less than a share of the largest value."""
    a, b = (torch.as_tensor(x).float() for x in (a, b))
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max(), float((a - b).abs().max() / b.abs().max())


# The official numbers ----------------------------------------------------------------------------------------------


def backbone_of(name):
    return f"{name.replace('-', '_')}_p4w7" if name.startswith("video-") else name


GOLDENS = [
    "referformer/golden_resnet50.npz",
    "referformer/golden_resnet50_odd9x91x157.npz",
    "referformer/golden_swin_t_p4w7.npz",
    "referformer/golden_video_swin_t_p4w7.npz",
    "referformer/golden_video_swin_t_p4w7_odd9x91x157.npz",
    "mutr/golden_resnet50.npz",
    "mutr/golden_resnet50_odd9x91x157.npz",
    "mutr/golden_swin_t_p4w7.npz",
    "mutr/golden_video_swin_t_p4w7.npz",
    "mutr/golden_convnext_large.npz",
    "mutr/golden_convmae_base.npz",
    "soc/golden_resnet50.npz",
    "soc/golden_video-swin-t.npz",
    "soc/golden_video-swin-t_odd9x75x123.npz",
]


@pytest.mark.parametrize("name", [pytest.param(g, marks=[] if g in FAST else pytest.mark.slow) for g in GOLDENS])
def test_the_official_numbers(shared, name):
    path = shared / "golden" / name
    if not path.is_file():
        pytest.skip(f"no {name} in ../shared/golden")
    golden = {k: v if v.dtype.kind == "U" else torch.from_numpy(v) for k, v in np.load(path).items()}
    model, _, backbone = name.removesuffix(".npz").partition("/golden_")
    network = fill(NETWORKS[model](backbone_of(backbone.partition("_odd")[0]), roberta(1000, 2)))
    assert str(golden["fill"]) == "fanin"
    with torch.inference_mode():
        text = encode(network.language_model, ROBERTA, golden["input_ids"].tolist())
        features = network.encode(golden["frames"])
        answer = network.answer(features, text, masks_for="all")
        stepped = network.answer(network.encode(golden["frames"], 2), text, 2)
    if model == "soc":  # time comes first there
        masks, boxes = (golden[f"out_pred_{k}"].movedim(0, 2) for k in ("masks", "boxes"))
        logits = golden["out_pred_cls"][:, 0, :, 0]
    else:
        masks, boxes = (golden[f"out_pred_{k}"].transpose(1, 2) for k in ("masks", "boxes"))
        logits = golden["out_pred_logits"][0, :, :, 0]
    close(text.states, golden["text_last_hidden"])
    close(answer.logits, masks)
    close(answer.boxes, boxes)
    close(answer.query_scores[0], logits.sigmoid().mean(0))
    if model == "mutr":
        assert answer.scores is None and logits.std(0).max() < 1e-6  # it has no score per frame
    else:
        close(answer.scores[0], logits.sigmoid().T)
    best = int(logits.sigmoid().mean(0).argmax())
    assert stepped.query.tolist() == [best]
    close(stepped.logits, masks[:, best])
    close(stepped.boxes, boxes[:, best])


@pytest.mark.parametrize("model", NETWORKS)
def test_names_and_shapes_are_those_of_the_official_checkpoints(shared, model):
    lists = sorted((shared / "golden" / model).glob("keys_*.txt"))
    assert lists
    for path in lists:
        backbone, _, geometry = path.stem.removeprefix("keys_").rpartition("_")
        with torch.device("meta"):
            text_encoder = roberta(1000, 2) if geometry == "tinytext" else roberta()
            network = NETWORKS[model](backbone_of(backbone), text_encoder)
        lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
        expected = {line[0]: line[1] for line in lines}
        assert {k: str(tuple(v.shape)) for k, v in network.state_dict().items()} == expected, path.name


# Networks of a tiny backbone -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """Each network with a Video Swin of one or two blocks a stage, and random weights that keep signals alive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BODIES, "video_tiny", lambda: Swin(24, (1, 2, 4, 8), (2, 2, 1, 1), video=True))
        found = NETWORKS[request.param]("video_tiny", roberta(50, 1))
    found.bbox_embed = found.transformer.decoder.bbox_embed
    return fill(found)


@pytest.fixture(scope="module")
def clip():
    return torch.randn(9, 3, 41, 53, generator=torch.Generator().manual_seed(0))  # two windows of frames; odd sizes


@pytest.fixture(scope="module")
def text():
    generator = torch.Generator().manual_seed(1)
    padding = torch.arange(12) >= torch.tensor([5, 12, 3])[:, None]
    return Text(torch.randn(3, 12, 768, generator=generator), padding, torch.randn(3, 768, generator=generator))


@pytest.fixture(scope="module")
def answer(network, clip, text):
    with torch.inference_mode():
        return network.answer(network.encode(clip), text)


def same(a, b, tolerance=1e-5):
    assert a.query.tolist() == b.query.tolist()
    for name in ("query_scores", "boxes", "scores", "logits"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            close(x, y, tolerance)


def test_an_answer_has_its_shapes(network, answer):
    assert answer.logits.shape == (3, 9, 11, 14)
    assert answer.boxes.shape == (3, 9, 4) and answer.query.shape == (3,)
    assert answer.query_scores.shape == (3, network.queries)
    assert (answer.scores is None) == isinstance(network, MUTR)
    if answer.scores is not None:
        assert answer.scores.shape == (3, 9) and 0 < answer.scores.min() < answer.scores.max() < 1
        close(answer.scores.mean(1), answer.query_scores.amax(1))
    assert answer.logits[0].std() > 0 and (answer.logits[0] - answer.logits[1]).abs().max() > 1e-3


@torch.inference_mode()
def test_expressions_together_answer_as_each_alone(network, clip, text, answer):
    features = network.encode(clip)
    alone = []
    for i in range(3):
        length = int((~text.padding[i]).sum())
        one = Text(text.states[i : i + 1, :length], text.padding[i : i + 1, :length], text.sentence[i : i + 1])
        alone.append(network.answer(features, one))
    same(join(alone), answer)


@pytest.mark.parametrize("step", [1, 4, 20])
@torch.inference_mode()
def test_steps_change_no_numbers(network, clip, text, answer, step):
    same(network.answer(network.encode(clip, step), text, step), answer)


@torch.inference_mode()
def test_masks_of_all_queries_hold_the_selected_ones(network, clip, text, answer):
    features = network.encode(clip)
    every = network.answer(features, text, masks_for="all")
    rows = torch.arange(3)
    close(every.logits[rows, answer.query], answer.logits)
    close(every.boxes[rows, answer.query], answer.boxes)
    scores = network.answer(features, text, masks_for="none")
    assert scores.logits is None
    close(scores.query_scores, answer.query_scores)
    other = (answer.query + 1) % network.queries
    given = network.answer(features, text, query=other, frames_per_step=9)
    assert given.query.tolist() == other.tolist()
    close(given.logits, every.logits[rows, other])


@torch.inference_mode()
def test_one_frame_is_a_clip(network, clip, text):
    answer = network.answer(network.encode(clip[:1]), text)
    assert answer.logits.shape == (3, 1, 11, 14) and answer.logits.isfinite().all()


@torch.inference_mode()
def test_frames_to_keep_have_still_seen_the_others(network, clip, text):
    middle = network.answer(network.encode(clip, keep=slice(4, 5)), text)
    alone = network.answer(network.encode(clip[4:5]), text)
    assert middle.logits.shape == alone.logits.shape
    assert (middle.logits - alone.logits).abs().max() > 1e-3 * alone.logits.abs().max()


@torch.inference_mode()
def test_the_layer_that_answers_can_be_chosen(network, clip, text, answer):
    try:
        network.layer = "last"
        last = network.answer(network.encode(clip), text)
    finally:
        network.layer = "official"
    differs = (last.logits - answer.logits).abs().max() > 1e-3 * answer.logits.abs().max()
    assert bool(differs) == isinstance(network, MUTR | SOC)  # ReferFormer's code evaluates as it trains


@torch.inference_mode()
def test_half_precision_draws_the_same_masks(network, clip, text, answer):
    with torch.autocast("cpu", torch.bfloat16):
        half = network.answer(network.encode(clip[:3], 2), text, 2, query=answer.query)
    full = network.answer(network.encode(clip[:3]), text, query=answer.query)
    assert half.logits.dtype == torch.float32 and half.logits.isfinite().all()
    assert ((half.logits > 0) == (full.logits > 0)).float().mean() > 0.97


@torch.inference_mode()
def test_folding_changes_names_not_results(monkeypatch, clip, text):
    monkeypatch.setitem(backbones.BODIES, "tiny", lambda: ResNet((1, 1, 1, 1)))
    network = fill(ReferFormer("tiny", roberta(50, 1)))
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for buffer in module.buffers():
                buffer.uniform_(0.5, 1.5)
    before = network.answer(network.encode(clip[:2]), text)
    network.fold()
    assert not any("running_var" in k for k in network.state_dict())
    same(network.answer(network.encode(clip[:2]), text), before)
