"""Checkpoints of SAM 2, EdgeTAM and SAM 3: every layout loads the same weights; SAM 2's official one also the masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from helpers import plain_sam, tiny_detectors
from helpers.sam_models import sam_model
from helpers.tiny_sam import KINDS, tiny_config, tiny_sam, write_folder, write_original, write_snapshot
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.weights import weights_hash
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.sam.checkpoints import original_config
from rvos_ensemble.propagators.inference.sam.checkpoints.loading import load_sam, open_sam
from rvos_ensemble.propagators.inference.sam.checkpoints.original_config import ENCODERS
from rvos_ensemble.propagators.inference.sam.checkpoints.published import PUBLISHED
from rvos_ensemble.propagators.inference.sam.sweep import SamSweep

GOLDEN = json.loads((Path(__file__).parent / "golden_sam2_official.json").read_text())
SIZE, LENGTH = 128, 5  # of the golden frames
VIDEO = (96, 160)


@pytest.fixture(scope="module")
def networks():
    return {kind: tiny_sam(kind) for kind in KINDS}


@pytest.fixture
def small_official(monkeypatch):
    """Official files are of networks for 1024 pixels; the golden numbers were made at 128."""
    monkeypatch.setattr(original_config, "IMAGE_SIZE", SIZE)


def same(loaded, network):
    """Whether a loaded network has all weights and buffers of another, and is ready for inference."""
    pairs = [(network.state_dict(), loaded.state_dict()), (dict(network.named_buffers()), dict(loaded.named_buffers()))]
    assert all(a.keys() == b.keys() for a, b in pairs)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert all(x.dtype == torch.float32 and x.device.type == "cpu" for x in loaded.parameters())
    return all(torch.equal(a[key], b[key]) for a, b in pairs for key in a)


@pytest.mark.parametrize(("kind", "shards"), [*((kind, 1) for kind in KINDS), ("sam2", 3)])
def test_a_folder_in_the_hugging_face_layout(kind, shards, networks, tmp_path):
    write_folder(tmp_path, networks[kind], shards)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards > 1)
    assert same(load_sam(tmp_path, kind), networks[kind])


def test_the_cache_of_the_hub(networks, tmp_path):
    main = write_snapshot(tmp_path, networks["sam2"])
    assert same(load_sam(main, "sam2"), networks["sam2"])
    assert same(load_sam(main / "snapshots" / ("0" * 40), "sam2"), networks["sam2"])
    other = main / "snapshots" / ("1" * 40)
    write_folder(other, networks["edgetam"])  # another revision; refs/main says which one counts
    assert same(load_sam(main, "sam2"), networks["sam2"])
    (main / "refs" / "main").unlink()
    with pytest.raises(InputError, match=r"holds the snapshots 0000.*, 1111.*; name one of these folders"):
        load_sam(main, "sam2")
    for file in other.iterdir():
        file.unlink()
    other.rmdir()
    assert same(load_sam(main, "sam2"), networks["sam2"]), "the only snapshot"


def test_half_precision_is_loaded_as_float32(networks, tmp_path):
    half = transformers.Sam2VideoModel(tiny_config("sam2"))
    half.load_state_dict(networks["sam2"].state_dict())
    write_folder(tmp_path, half.bfloat16())
    loaded = load_sam(tmp_path, "sam2")
    assert all(
        torch.equal(v, networks["sam2"].state_dict()[k].bfloat16().float()) for k, v in loaded.state_dict().items()
    )


def test_the_tracker_inside_a_sam3_for_videos(tmp_path):
    whole = tiny_detectors.sam3_video()
    write_folder(tmp_path, whole)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam3_video"
    loaded = load_sam(tmp_path, "sam3")
    state, names = whole.state_dict(), loaded.state_dict()
    for name, tensor in names.items():
        inside = name.replace("vision_encoder.backbone.", "detector_model.vision_encoder.backbone.")
        inside = inside.replace("vision_encoder.neck.", "tracker_neck.")
        assert torch.equal(tensor, state[inside if inside in state else f"tracker_model.{name}"])
    by_transformers = transformers.Sam3TrackerVideoModel.from_pretrained(tmp_path)
    assert same(loaded, by_transformers)
    assert "the tracker of SAM 3 inside a SAM 3 for videos (propagator `sam3`)" in open_sam(tmp_path, "sam3").describe()
    alone = tmp_path / "detector"
    write_folder(alone, whole.detector_model)
    with pytest.raises(InputError, match="the detector of SAM 3 alone, which does not track; take facebook/sam3"):
        load_sam(alone, "sam3")


def as_officially(network):
    """Undoes the two differences between transformers 5.24 and the official code on the frame of a mask prompt.

    The official code computes the object pointer from the token of a single mask, transformers from that of the best of
    three; the official code encodes the memory from logits at a quarter of the resolution, transformers from the mask.
    """
    forward, encode = network._single_frame_forward, network._encode_new_memory

    def single_frame_forward(input_masks=None, **given):
        return forward(input_masks=input_masks, **given | ({} if input_masks is None else {"multimask_output": False}))

    def encode_new_memory(pred_masks_high_res, is_mask_from_pts, **given):
        if is_mask_from_pts:
            small = F.interpolate(pred_masks_high_res, scale_factor=0.25, mode="bilinear", antialias=True)
            pred_masks_high_res = F.interpolate(small, scale_factor=4, mode="bilinear")
        return encode(pred_masks_high_res=pred_masks_high_res, is_mask_from_pts=is_mask_from_pts, **given)

    network._single_frame_forward, network._encode_new_memory = single_frame_forward, encode_new_memory


@pytest.mark.parametrize("version", ["2", "2.1"])
def test_an_official_file_tracks_as_the_official_code(version, tmp_path, small_official):
    names = {k: s for k, s in GOLDEN["names"].items() if version == "2.1" or k not in GOLDEN["only_2.1"]}
    network = load_sam(write_original(tmp_path / "sam2.pt", names, GOLDEN["level"]), "sam2")
    noise = np.random.RandomState(0).standard_normal((LENGTH, 3, 12, 12)).astype("float32")
    pixels = F.interpolate(torch.from_numpy(noise), (SIZE, SIZE), mode="bilinear")
    mask = np.zeros(VIDEO, bool)
    mask[30:60, 50:100] = True
    as_officially(network)
    signs = set()
    for run in GOLDEN["runs"][version]:
        for t, logits, score in plain_sam.track(network, "sam2", pixels, VIDEO, {run["key"]: mask}, run["reverse"]):
            signs.add(score > 0)
            assert score == pytest.approx(run["scores"][str(t)], abs=2e-4)
            # memories are rounded to bfloat16, whose last bit depends on the order of sums
            assert np.abs(logits[0, 0, 2::8, 2::8].numpy() - run["logits"][str(t)]).max() < 1e-3
    assert signs == {True, False}


def test_the_propagator_enters_masks_as_the_official_code_does(tmp_path, small_official):
    """A sweep with the default `prompts` equals transformers without its two differences, and with them it does not."""
    network = load_sam(write_original(tmp_path / "sam2.pt", GOLDEN["names"], GOLDEN["level"]), "sam2")
    with torch.no_grad():
        network.mask_decoder.pred_obj_score_head.proj_out.bias.add_(20)  # the object is visible on every frame
    images = np.random.default_rng(0).integers(0, 256, (LENGTH, *VIDEO, 3), np.uint8)
    mask = np.zeros(VIDEO, bool)
    mask[30:60, 50:100] = True
    tracked = {None: {}, "transformers": {}}
    for prompts, logits in tracked.items():
        sweep = SamSweep(sam_model(network, "sam2", prompts=prompts), VIDEO, LENGTH)
        for t in range(LENGTH):
            sweep.step(Frame(t, images[t]), {} if t else {0: mask})
            logits[t] = sweep.latest[2][0].mask
    as_officially(network)
    pixels = plain_sam.processed(images, SIZE, "sam2")
    frames = [(t, x[0, 0]) for t, x, _ in plain_sam.track(network, "sam2", pixels, VIDEO, {0: mask}, False) if t]
    assert all(x.max() > -1024 for _, x in frames)
    distance = {p: max((logits[t] - x).abs().max().item() for t, x in frames) for p, logits in tracked.items()}
    assert distance[None] < 1e-3 and distance["transformers"] > 10 * distance[None]


def test_every_official_weight_has_a_place(tmp_path, small_official):
    names = GOLDEN["names"]
    file = write_original(tmp_path / "sam2.1_hiera_tiny.pt", names, 0)
    checkpoint = open_sam(file, "sam2")
    assert "SAM 2.1 hiera tiny of width 12, a file of the official code" in checkpoint.describe()
    assert checkpoint.ignored <= 0, "no weight is left out"
    assert len(checkpoint.weights) == len(names) - 3 + 1  # four point embeddings are one; one weight is there twice
    given, held = torch.load(file)["model"], checkpoint.network().state_dict()
    assert sum(v.double().square().sum() for v in given.values()) == pytest.approx(
        sum(v.double().square().sum() for k, v in held.items() if k != "shared_image_embedding.positional_embedding")
    )
    for missing in ("memory_encoder.fuser.layers.1.gamma", "sam_mask_decoder.iou_token.weight", "maskmem_tpos_enc"):
        content = torch.load(file)["model"]
        del content[missing]
        torch.save({"model": content}, tmp_path / "less.pt")
        with pytest.raises(InputError, match=r"less\.pt: recognised as SAM 2\.1"):
            open_sam(tmp_path / "less.pt", "sam2")


COUNTED = [p for rows in PUBLISHED.values() for p in rows if p.parameters]


@pytest.mark.parametrize("published", COUNTED, ids=lambda p: p.repository)
def test_published_numbers_of_parameters_are_those_of_their_configs(published):
    with torch.device("meta"):
        if published.repository == "facebook/sam3":
            network = transformers.Sam3TrackerVideoModel(transformers.Sam3TrackerVideoConfig())
        else:
            blocks, size = next((b, e) for b, e in ENCODERS.items() if published.repository.endswith(e.name))
            network = transformers.Sam2VideoModel(sam2_config(blocks, size.width, "2.1" in published.repository))
    assert published.parameters == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6, abs=0.05)


def sam2_config(blocks, width, newer):
    """The config of a published SAM 2."""
    widths = [width * 2**n for n in range(4)]
    backbone = dict(
        model_type="sam2_hiera_det_model", hidden_size=width, blocks_per_stage=list(blocks), embed_dim_per_stage=widths
    )
    if width == 112:
        backbone["window_positional_embedding_background_size"] = [14, 14]
    vision = dict(model_type="sam2_vision_model", backbone_config=backbone, backbone_channel_list=widths[::-1])
    return transformers.Sam2VideoConfig(
        vision_config=vision,
        enable_temporal_pos_encoding_for_object_pointers=newer,
        enable_occlusion_spatial_embedding=newer,
    )


def test_the_fingerprint_is_that_of_the_content(networks, tmp_path):
    folder = write_folder(tmp_path / "a", networks["sam2"])
    snapshot = write_snapshot(tmp_path, networks["sam2"])
    first = weights_hash(folder)
    assert weights_hash(snapshot) == first == weights_hash(folder)
    (folder / "README.md").write_text("other files do not count")
    assert weights_hash(folder) == first
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"num_maskmem": 7', '"num_maskmem": 6'))
    assert weights_hash(folder) != first
    assert weights_hash(snapshot) == first
