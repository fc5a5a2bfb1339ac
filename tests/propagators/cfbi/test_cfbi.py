"""The propagator CFBI: the official procedure, all sequences at once, its settings and its checkpoints."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from helpers.low_precision import autocast_alone
from helpers.seeded_cfbi import block_video, weights_of
from torch.nn import functional as F

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.cfbi import CFBI
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.families.cfbi import CFBIFamily
from rvos_ensemble.propagators.networks.cfbi.references import References

SIZE = (34, 50)


@pytest.fixture(params=["cfbip_narrow", "cfbi_narrow"])
def make(request, checkpoints):
    """A function from settings to a propagator with seeded weights."""
    path = str(checkpoints(request.param))
    return lambda **settings: CFBI(**{"weights": path, **settings})


@pytest.fixture
def plus(checkpoints):
    """The same for CFBI+ alone."""
    path = str(checkpoints("cfbip_narrow"))
    return lambda **settings: CFBI(**{"weights": path, **settings})


def through(propagator, frames, references, corrections=None):
    """{(t, sequence): uint8 [H, W]} of one pass; `corrections` {t: {sequence: mask}} follow their step."""
    sweep, results = propagator.sweep(frames.shape[1:3], 3), {}
    for t, frame in enumerate(frames):
        results |= {(t, i): np.asarray(m) for i, m in sweep.step(Frame(t, frame), references.get(t, {})).items()}
        if corrections and t in corrections:
            sweep.correct(corrections[t])
    return results


def close(a, b, share=0.002):
    """Whether results agree except for ties."""
    return a.keys() == b.keys() and all((np.abs(a[k].astype(int) - b[k]) > 1).mean() <= share for k in a)


@pytest.mark.parametrize(
    "tta", [None, {"flip": True, "scales": [1.0, 1.3]}], ids=["one scale", "two scales and their mirror images"]
)
def test_it_is_the_official_procedure_step_by_step(make, tta):
    """BGR, cubic resize, nearest labels from the full size; references in a list; the argmax of the mean is kept."""
    frames, masks = block_video(SIZE, 4)
    propagator = make(tta=tta)
    ours = through(propagator, frames, {0: {0: masks[0]}, 2: {0: masks[2]}})
    network, runs = propagator.model.network, []
    for h, w, flip in [(33, 49, 0)] if tta is None else [(33, 49, 0), (33, 49, 1), (49, 65, 0), (49, 65, 1)]:
        runs.append(((h, w), bool(flip), References(network.sizes.levels)))

    def encode(image, size, flip):
        x = cv2.resize(image[..., ::-1].astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
        x = (x[:, ::-1] if flip else x) / 255.0
        x = (x - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
        return network.encode(torch.from_numpy(x.transpose(2, 0, 1).copy())[None])

    def small(mask, features, flip):
        mask = torch.from_numpy(mask[:, ::-1].copy() if flip else mask)[None, None].float()
        return [F.interpolate(mask, size=s, mode="nearest")[0] > 0 for s in features.sizes]

    mask, before = None, [None] * len(runs)
    with torch.no_grad():
        for t, frame in enumerate(frames):
            features, total = [encode(frame, size, flip) for size, flip, _ in runs], 0
            if t in (0, 2):
                mask = masks[t]
                for (_, flip, references), f in zip(runs, features, strict=True):
                    references.add(f.embeddings, [m[0] for m in small(mask, f, flip)])
            else:
                for n, ((_, flip, references), f) in enumerate(zip(runs, features, strict=True)):
                    matchers = network.matchers(f, before[n])
                    logits = network.segment(f, before[n], matchers, small(mask, f, flip), [references])
                    p = F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=True).softmax(1)[0]
                    total = total + (p.flip(-1) if flip else p)
                mask = (total[1] > total[0]).numpy()
                assert np.abs(ours[t, 0].astype(int) - total[1].numpy() / len(runs) * 255).max() < 1.01
            before = features


def test_sequences_share_features_and_their_number_per_pass_changes_nothing(make, monkeypatch):
    frames, masks = block_video(SIZE, 4)
    references = {0: {0: masks[0]}, 1: {1: np.roll(masks[1], 20, axis=1)}, 2: {2: ~masks[2]}}
    one, all_at_once = make(batch=1), make(batch=3)
    encoded = []
    encode = one.model.network.encode
    monkeypatch.setattr(one.model.network, "encode", lambda image: encoded.append(1) or encode(image))
    together = through(one, frames, references)
    assert len(encoded) == 4
    assert close(together, through(all_at_once, frames, references))
    for t, given in references.items():
        ((i, mask),) = given.items()
        alone = through(make(), frames[t:], {0: {0: mask}})
        assert close({k: v for k, v in together.items() if k[1] == i}, {(s + t, i): m for (s, _), m in alone.items()})


def test_both_directions_encode_every_frame_once(plus, monkeypatch):
    from test_propagate import moving_disc

    clip, truth = moving_disc(5, 34, 50)
    propagator, encoded = plus(), []
    encode = propagator.model.network.encode
    monkeypatch.setattr(propagator.model.network, "encode", lambda image: encoded.append(1) or encode(image))
    propagate(clip, [PropagationTask(MaskSequence.binary(truth), k) for k in [(1,), (3,)]], propagator)
    assert len(encoded) == 5


def test_a_correction_is_what_the_sequence_continues_from(plus):
    frames, masks = block_video(SIZE, 3)
    plain = through(plus(), frames, {0: {0: masks[0]}})
    same = through(plus(), frames, {0: {0: masks[0]}}, {1: {0: plain[1, 0]}})
    other = through(plus(), frames, {0: {0: masks[0]}}, {1: {0: np.uint8(255) * ~(plain[1, 0] > 127)}})
    assert np.array_equal(plain[2, 0], same[2, 0]) and not np.array_equal(plain[2, 0], other[2, 0])


def test_empty_masks(plus):
    """An empty mask starts no object; of one that runs, it says that the frame is all background."""
    frames, masks = block_video(SIZE, 4)
    empty = np.zeros(SIZE, bool)
    late = through(plus(), frames, {0: {0: empty}, 1: {0: masks[1]}})
    assert not late[0, 0].any() and np.array_equal(late[1, 0] > 127, masks[1])
    assert close({k: v for k, v in late.items() if k[0]}, {
        (t + 1, 0): m for (t, _), m in through(plus(), frames[1:], {0: {0: masks[1]}}).items()
    })  # fmt: skip
    hidden = through(plus(), frames, {0: {0: masks[0]}, 2: {0: empty}})
    assert not hidden[2, 0].any()
    assert not np.array_equal(hidden[3, 0], through(plus(), frames, {0: {0: masks[0]}})[3, 0])


def test_settings_that_change_the_matching(plus):
    frames, masks = block_video(SIZE, 2)
    results = [
        through(plus(**s), frames, {0: {0: masks[0]}})[1, 0]
        for s in (
            {},
            {"matching_stride": 2},
            {"matching_stride": 1},
            {"matching_stride": 5, "min_matching_pixels": 999},
        )
    ]
    assert np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])
    assert np.array_equal(results[2] > 127, results[3] > 127)  # sums of the attention have another order


def test_bf16_is_near_to_fp32_and_pickles_travel(make):
    frames, masks = block_video(SIZE, 2)
    with autocast_alone():
        plain = through(make(precision="bf16"), frames, {0: {0: masks[0]}})[1, 0]
    propagator = make(precision="bf16")
    fp32, bf16 = (through(p, frames, {0: {0: masks[0]}})[1, 0] for p in (make(), propagator))
    assert np.abs(fp32.astype(int) - bf16).mean() < 8
    assert np.array_equal(bf16, plain)  # with weights that are converted once
    again = pickle.loads(pickle.dumps(propagator))
    assert np.array_equal(through(again, frames, {0: {0: masks[0]}})[1, 0], bf16)
    assert again.fingerprint() == propagator.fingerprint()


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"tta": {"flips": True}}, "flips"),
        ({"matching_stride": 0}, "matching_stride"),
        ({"pack": True}, "pack"),
        ({"precision": "fp16", "device": "cpu"}, "CUDA"),
    ],
)
def test_settings_are_strict(plus, settings, words):
    with pytest.raises(InputError, match=words):
        plus(**settings)


# Checkpoints -------------------------------------------------------------------------------------------------------


def official(name):
    """The content of a file as the official code saves it: prefixes, and layers of CFBI under two names."""
    weights = weights_of(name)
    if name.startswith("cfbi_"):
        twice = {"seperate_conv": 0, "bn1": 1, "embedding_conv": 3, "bn2": 4}
        weights |= {
            f"semantic_embedding.{n}.{part}": weights[f"{layer}.{part}"]
            for layer, n in twice.items()
            for part in ("weight", "bias")
        }
    return {"state_dict": {f"module.{k}": v for k, v in weights.items()}, "optimizer": {}}


@pytest.mark.parametrize("name, title", [("cfbip_narrow", "CFBI+"), ("cfbi_narrow", "CFBI")])
def test_weights_verify(name, title, tmp_path, capsys):
    torch.save(official(name), tmp_path / "their.pth")
    assert run_ensemble.main(["weights", "verify", str(tmp_path / "their.pth")]) == 0
    out = capsys.readouterr().out
    assert f"{title} with a ResNet of (1, 1, 1, 3) blocks (propagator `cfbi`)" in out and "fits" in out


def test_published_checkpoints_are_listed(capsys):
    assert run_ensemble.main(["weights"]) == 0
    out = capsys.readouterr().out
    assert "CFBI+" in out and "82.8" in out and "BSD-3-Clause" in out


def test_wrong_files_are_explained(tmp_path, checkpoints):
    weights = weights_of("cfbip_narrow")
    less = {k: v for k, v in weights.items() if k != "dynamic_seghead.IA10.IA.bias"}
    more = weights | {"dynamic_seghead.IA12.IA.bias": torch.zeros(3)}
    wide = weights | {"fpn.smooth1.0.weight": torch.zeros(48, 48, 3, 3)}
    none = {k: v for k, v in weights.items() if "aspp.conv1" not in k}
    mobile = weights | {"feature_extracter.backbone.features.0.0.weight": torch.zeros(32, 3, 3, 3)}
    for content, words in (
        (less, "IA10.IA.bias"),
        (more, "IA12.IA.bias"),
        (wide, "shape"),
        (none, "cut"),
        (mobile, "MobileNetV2"),
    ):
        torch.save(content, tmp_path / "file.pth")
        with pytest.raises(InputError, match=words):
            CFBIFamily().open(tmp_path / "file.pth")
    with pytest.raises(InputError, match="AOT"):
        CFBI(weights=str(checkpoints("aott")))
    with pytest.raises(InputError, match="no such file"):
        CFBI(weights=str(tmp_path / "missing.pth"))
