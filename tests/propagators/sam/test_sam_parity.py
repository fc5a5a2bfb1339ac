"""SAM 2, EdgeTAM and SAM 3's tracker against transformers itself, seeded random weights, both directions."""

import numpy as np
import pytest
import transformers
from helpers import plain_sam
from helpers.sam_models import quick_sam, sam_model
from helpers.tiny_sam import KINDS, seed, tiny_config
from test_propagate import moving_disc

from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.sam.sweep import SamSweep

LENGTH = 23  # beyond 7 memories and 16 object pointers
# Sums in another order differ in the last bit, which changes the rounding of some memories to bfloat16, by 2^-8;
# memories of EdgeTAM are float32.
TOLERANCE = {"sam2": 1e-4, "edgetam": 1e-5, "sam3": 1e-4}
LEVEL = {"sam2": -4.3, "edgetam": -2.3, "sam3": 1.0}  # bias of the object score with which objects come and go


@pytest.fixture(scope="module")
def video():
    clip, truth = moving_disc(LENGTH)
    return clip.images.images, truth


def masks_of(truth, keys):
    return {t: truth[t] for t in keys}


def ours(model, images, sequences, order):
    """{sequence: {t: (logits, score logit, mask as stated)}} of one sweep; `sequences` are {key frame: mask}."""
    sweep, result = SamSweep(model, images.shape[1:3], len(images)), {i: {} for i in range(len(sequences))}
    for t in order:
        masks = sweep.step(Frame(t, images[t]), {i: s[t] for i, s in enumerate(sequences) if t in s})
        for i, entry in sweep.latest[2].items():
            if not entry.given:
                result[i][t] = entry.mask.numpy(), entry.score.item(), masks[i]
    return result


def plain(model, kind, images, sequences, reverse):
    """{sequence: {t: (logits, score logit)}} of transformers."""
    pixels, cache = plain_sam.processed(images, model.config.image_size, kind), []
    tracks = (plain_sam.track(model, kind, pixels, images.shape[1:3], masks, reverse, cache) for masks in sequences)
    return {i: {t: (logits, score) for t, logits, score in track} for i, track in enumerate(tracks)}


def compare(own, theirs, sequences, size):
    """Checks every propagated frame: (largest difference of logits, relative to the frame's; signs of the scores)."""
    worst, signs = 0, set()
    for i, frames in own.items():
        assert set(frames) == set(theirs[i]) - set(sequences[i])
        for t, (logits, score, mask) in frames.items():
            expected, expected_score = theirs[i][t]
            expected_logits = expected[0, 0].numpy()
            worst = max(worst, np.abs(logits - expected_logits).max() / max(1, np.abs(expected_logits).max()))
            assert abs(score - expected_score) < 1e-4 * max(1, abs(expected_score)), (i, t)
            signs.add(score > 0)
            video = plain_sam.video_masks(expected, size)
            differs = np.abs(np.asarray(mask) / 255 - plain_sam.probabilities(video))
            assert differs.max() <= 0.5 / 255 + 1e-5, (i, t)  # half a level of uint8
            assert mask.signals["object_score"] == pytest.approx(1 / (1 + np.exp(-score)), abs=1e-6)
            sure = np.abs(video) > 1e-4
            assert np.array_equal((np.asarray(mask) > 127)[sure], (video > 0)[sure])
    return worst, signs


def network_of(kind):
    """A tiny network whose object scores have both signs on these frames."""
    return quick_sam(kind, LEVEL[kind])


# in reverse time the code of all kinds is the same
@pytest.mark.parametrize(("kind", "reverse"), [("sam2", True), *((kind, False) for kind in KINDS)])
def test_every_frame_equals_one_session_per_object(kind, reverse, video):
    images, truth = video
    network = network_of(kind)
    keys = [[0], [2, 3, 5, 6, 8, 11]]  # the second has more than SAM 3's 4 conditioning frames
    if reverse:
        keys = [[LENGTH - 1 - t for t in k] for k in keys]
    sequences = [masks_of(truth, k) for k in keys]
    sequences[1] = {t: np.roll(m, 60, axis=1) for t, m in sequences[1].items()}
    order = range(LENGTH)[:: -1 if reverse else 1]
    own = ours(sam_model(network, kind, batch=2), images, sequences, order)
    worst, signs = compare(own, plain(network, kind, images, sequences, reverse), sequences, truth.shape[1:])
    assert worst < TOLERANCE[kind]
    assert signs == {True, False}, "the weights see the object on all frames or on none"


def published(kind):
    """A network of the published geometry, of EdgeTAM and SAM 3 with a smaller image encoder."""
    if kind == "sam2":
        network = transformers.Sam2VideoModel(transformers.Sam2VideoConfig())
    elif kind == "edgetam":
        vision = tiny_config("edgetam").vision_config.to_dict()
        vision["backbone_config"]["image_size"] = [1024, 1024]
        vision["backbone_feature_sizes"] = [[256, 256], [128, 128], [64, 64]]
        config = transformers.EdgeTamVideoConfig(vision_config=vision | {"fpn_hidden_size": 256})
        network = transformers.EdgeTamVideoModel(config)
    else:
        config = transformers.Sam3TrackerVideoConfig()
        config.vision_config.backbone_config.num_hidden_layers = 2
        config.vision_config.backbone_config.global_attn_indexes = [1]
        network = transformers.Sam3TrackerVideoModel(config)
    network = seed(network, kind)
    network.mask_decoder.pred_obj_score_head.proj_out.bias.add_(8)  # the object is visible
    return network


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_published_geometry_equals_transformers(kind):
    clip, truth = moving_disc(3, h=120, w=214)
    network, images, sequences = published(kind), clip.images.images, [masks_of(truth, [0])]
    own = ours(sam_model(network, kind), images, sequences, range(3))
    worst, signs = compare(own, plain(network, kind, images, sequences, False), sequences, truth.shape[1:])
    print(f"{kind}: largest difference of logits, relative to the frame's, {worst:.1e}")
    assert worst < TOLERANCE[kind] and signs == {True}
