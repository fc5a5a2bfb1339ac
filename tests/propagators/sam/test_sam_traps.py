"""What goes wrong in sessions of transformers for video (or would in ours), each in a test that fails if it comes back.

The numbers are those of the list of traps in the facts about transformers 5.24.
"""

import gc

import numpy as np
import pytest
import torch
from helpers import plain_sam
from helpers.sam_models import quick_sam, sam_model
from PIL import Image
from test_propagate import moving_disc
from test_sam_parity import LEVEL, compare, masks_of, network_of, ours, plain

from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.sam.preprocessing import NORMALISATION, pixels, prompt
from rvos_ensemble.propagators.inference.sam.sweep import SamSweep


@pytest.fixture(scope="module")
def video():
    clip, truth = moving_disc(9)
    return clip.images.images, truth


@pytest.fixture(scope="module")
def model():
    return sam_model(network_of("sam2"), "sam2", batch=4)


def run(model, images, sequences, order, length=None):
    """{sequence: {t: mask}} of one sweep; `sequences` are {key frame: mask}."""
    sweep, result = SamSweep(model, images.shape[1:3], length or len(images)), {i: {} for i in range(len(sequences))}
    for t in order:
        for i, mask in sweep.step(Frame(t, images[t]), {i: s[t] for i, s in enumerate(sequences) if t in s}).items():
            result[i][t] = np.asarray(mask)
    return result, sweep


def same(a, b):
    return set(a) == set(b) and all(np.abs(a[t].astype(int) - b[t]).max() <= 1 for t in a)


def test_1_a_later_key_frame_of_another_object_adds_no_conditioning_frames(model, video):
    images, truth = video
    _, sweep = run(model, images, [masks_of(truth, [0]), masks_of(truth, [4])], range(8))
    assert [[e.t for e in sweep.banks[i].conditioning] for i in (0, 1)] == [[0], [4]]
    assert [e.t for e in sweep.banks[1].recent] == [5, 6]  # frame 7 enters when the next step begins


def test_1_and_2_the_key_frames_of_others_change_nothing(model, video):
    images, truth = video
    others = [masks_of(np.roll(truth, n, axis=2), keys) for n, keys in ((30, [3]), (60, [2, 5]), (90, [0, 1, 6]))]
    alone, _ = run(model, images, [masks_of(truth, [1])], range(9))
    company, _ = run(model, images, [masks_of(truth, [1]), *others], range(9))
    assert same(alone[0], company[0])


def test_3_the_backward_pass_does_not_depend_on_the_forward_pass(model, video):
    images, truth = video
    frames = [Frame(t, images[t]) for t in range(9)]  # with the memo of the forward pass
    forward = SamSweep(model, images.shape[1:3], 9)
    for t in range(4, 9):
        forward.step(frames[t], {0: truth[4]} if t == 4 else {})
    backward = SamSweep(model, images.shape[1:3], 9)
    after = {t: np.asarray(backward.step(frames[t], {0: truth[4]} if t == 4 else {})[0]) for t in (4, 3, 2, 1, 0)}
    fresh, _ = run(model, images, [masks_of(truth, [4])], range(4, -1, -1))
    assert all(np.array_equal(after[t], fresh[0][t]) for t in fresh[0])


def test_4_reverse_from_frame_0_gives_frame_0(model, video):
    images, truth = video
    result, _ = run(model, images, [masks_of(truth, [0])], [0])
    assert np.array_equal(result[0][0] > 127, truth[0])


@pytest.mark.parametrize(
    ("kind", "limit", "read"), [("sam2", None, 6), ("sam3", None, 4), ("sam2", 2, 2), ("sam3", 0, 6)]
)
def test_5_the_limit_of_conditioning_frames_is_the_networks_own(kind, limit, read, video):
    images, truth = video
    model = sam_model(quick_sam(kind), kind, max_cond_frames=limit)
    _, sweep = run(model, images, [masks_of(truth, range(6))], range(7))
    places = [place for place, _ in sweep.banks[0].memories(7)]
    assert places.count(model.network.config.num_maskmem - 1) == read
    assert len(sweep.banks[0].pointers(7)) == 6, "pointers of all conditioning frames are read"


@pytest.mark.parametrize("kind", ["sam2", "edgetam"])
def test_6_memory_is_constant_and_as_stated(kind):
    clip, truth = moving_disc(14, h=40, w=60)
    model = sam_model(quick_sam(kind, max_object_pointers_in_encoder=8), kind)
    sweep, sizes, tensors = SamSweep(model, clip.size, len(clip)), {}, {}
    for t in range(len(clip)):
        sweep.step(Frame(t, clip.read(t)), {i: truth[0] for i in range(2)} if t == 0 else {})
        sizes[t] = sweep.nbytes
        if t in (10, 13):
            gc.collect()
            tensors[t] = sum(
                x.nbytes for x in gc.get_objects() if type(x) is torch.Tensor and x.layout == torch.strided
            )
    assert sizes[9] == sizes[10] == sizes[13] == 2 * model.bytes_per_sequence() > sizes[3]
    assert tensors[13] <= tensors[10], "nothing outside the banks grows either"


def test_6_key_frames_take_what_is_stated():
    clip, truth = moving_disc(15, h=40, w=60)
    model = sam_model(quick_sam("sam3", max_object_pointers_in_encoder=8), "sam3")
    _, sweep = run(model, clip.images.images, [masks_of(truth, range(6))], range(15))
    assert sweep.nbytes == model.bytes_per_sequence(key_frames=6)


def test_6_constant_position_encodings_take_no_memory_per_frame(model, video):
    images, truth = video
    sweep, frames = SamSweep(model, images.shape[1:3], 9), [Frame(t, images[t]) for t in range(2)]
    for frame in frames:
        sweep.step(frame, {0: truth[0]} if frame.t == 0 else {})
    channels, n = 128, 8 * 8  # of the tiny network: fine and medium maps, the map itself, and its queries
    expected = 4 * n * (channels // 8 * 16 + channels // 4 * 4 + 2 * channels)
    assert [frame.nbytes - frame.image.nbytes for frame in frames] == [expected] * 2


def test_7_sequences_run_in_one_batch(model, video, monkeypatch):
    images, truth = video
    sizes, decoder = [], model.network.model.mask_decoder
    forward = type(decoder).forward

    def recorded(self, image_embeddings, **kwargs):
        sizes.append(len(image_embeddings))
        return forward(self, image_embeddings, **kwargs)

    monkeypatch.setattr(type(decoder), "forward", recorded)
    run(model, images, [masks_of(truth, [k]) for k in (0, 1, 2, 0, 1)], range(4))  # at most 4 in a batch
    assert sizes == [2, 2, 2, 4, 1, 4, 1]


@pytest.mark.parametrize("again", [False, True])
def test_9_an_empty_prompt_gives_nothing_until_the_next_reference(model, video, again):
    images, truth = video
    empty = np.zeros_like(truth[0])
    masks = {0: truth[0], 3: empty} | ({6: truth[6]} if again else {})
    results, sweep = run(model, images, [masks], range(9))
    result = results[0]
    assert not any(result[t].any() for t in (3, 4, 5))
    if again:
        fresh, _ = run(model, images, [{6: truth[6]}], range(6, 9))
        assert all(np.array_equal(result[t], fresh[0][t]) for t in (6, 7, 8))
    else:
        assert not any(result[t].any() for t in (6, 7, 8)) and sweep.nbytes == 0


def test_frames_are_told_apart_by_their_index_in_the_clip(model, video):
    """Streaming counts frames that are kept: indices collide as soon as frames are dropped."""
    images, truth = video
    _, sweep = run(model, images, [masks_of(truth, [8])], range(8, -1, -1))
    bank = sweep.banks[0]
    assert [e.t for e in bank.recent] == [7, 6, 5, 4, 3, 2, 1]
    assert [(place, e.t) for place, e in bank.memories(0)] == [(6, 8), (5, 6), (4, 5), (3, 4), (2, 3), (1, 2), (0, 1)]
    assert [d for d, _ in bank.pointers(0)] == [8, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("length", [2, 5])
def test_short_videos_scale_the_distances_of_pointers(length, video):
    images, truth = video[0][:length], video[1][:length]
    network = quick_sam("sam2", LEVEL["sam2"] + 2)
    # random weights hardly read this encoding
    network.temporal_positional_encoding_projection_layer.weight.mul_(100)
    model, sequences = sam_model(network, "sam2"), [masks_of(truth, [0])]
    own = ours(model, images, sequences, range(length))
    worst, _ = compare(own, plain(network, "sam2", images, sequences, False), sequences, truth.shape[1:])
    assert worst < 1e-4
    unknown = SamSweep(model, images.shape[1:3], None)
    assert unknown.span == 15 and SamSweep(model, images.shape[1:3], length).span == length - 1


def test_every_frame_is_encoded_once_for_both_directions(model, video, monkeypatch):
    images, truth = video
    calls, network = [], model.network.model
    original = type(network).get_image_features
    monkeypatch.setattr(
        type(network), "get_image_features", lambda self, x, **k: calls.append(1) or original(self, x, **k)
    )
    frames = [Frame(t, images[t]) for t in range(5)]
    for order in (range(5), range(4, -1, -1)):
        sweep = SamSweep(model, images.shape[1:3], 5)
        for t in order:
            sweep.step(frames[t], {i: truth[t] for i in range(3)} if t == order[0] else {})
    assert len(calls) == 5


def test_a_correction_replaces_the_mask_and_its_pointer(model, video):
    images, truth = video
    half = (truth[1] * 255).astype(np.uint8)
    sweeps = [SamSweep(model, images.shape[1:3], 9) for _ in range(3)]
    for sweep in sweeps:
        sweep.step(Frame(0, images[0]), {0: truth[0]})
        sweep.step(Frame(1, images[1]), {})
    sweeps[1].correct({0: half})
    sweeps[2].correct({0: np.zeros_like(half), 5: half})  # no sequence 5
    third = [np.asarray(s.step(Frame(2, images[2]), {})[0]) for s in sweeps]
    assert not np.array_equal(third[0], third[1]) and not np.array_equal(third[0], third[2])
    key = SamSweep(model, images.shape[1:3], 9)
    key.step(Frame(1, images[1]), {0: truth[1]})
    key.step(Frame(2, images[2]), {})
    assert torch.equal(sweeps[1].banks[0].recent[-1].pointer, key.banks[0].conditioning[-1].pointer)
    assert torch.equal(sweeps[2].banks[0].recent[-1].pointer, model.network.model.no_object_pointer[0])


# Preprocessing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NORMALISATION)
@pytest.mark.parametrize("size", [(91, 157), (480, 854), (128, 128), (1, 3)])
def test_pixels_equal_the_processors(kind, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image.setflags(write=False)
    own = pixels(image, 128, kind)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(own, plain_sam.processed(image[None].copy(), 128, kind)[0].permute(1, 2, 0).numpy())
    levels = np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BILINEAR), np.float64)
    mean, std = plain_sam.MEAN[kind], plain_sam.STD[kind]
    assert np.abs(own - (levels / 255 - mean) / std).max() <= 1.01 / 255 / min(std)  # PIL rounds in another place
    assert np.abs((own * std + mean) * 255 - np.round((own * std + mean) * 255)).max() < 1e-4, "not resized as uint8"


@pytest.mark.parametrize("size", [(91, 157), (480, 854), (128, 128)])
def test_prompts_equal_the_processors(size):
    mask = np.random.default_rng(0).random(size) < 0.5
    mask[: size[0] // 2] = True
    assert torch.equal(prompt(mask, 128), plain_sam.prompt(mask, 128)[0, 0])
    assert not prompt(np.zeros(size, bool), 128).any()


def test_a_tiny_object_does_not_vanish_from_its_prompt():
    mask = np.zeros((1080, 1920), bool)
    mask[500, 900] = True
    assert not plain_sam.prompt(mask, 128).any()
    assert 1 <= prompt(mask, 128).sum() <= 4
