"""`given_mask` and the recipe `vos`: a mask of one frame, carried through a video."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.overlap import iou
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.adapters.given_mask import GivenMask

T, H, W = 4, 60, 80
NUMBERS = np.zeros((H, W), np.uint8)
NUMBERS[10:20, 10:20], NUMBERS[30:40, 50:60], NUMBERS[:2] = 7, 2, 255  # two objects and void


def clip_of(texts, name="v"):
    images = SimpleNamespace(size=(H, W), read=None, fingerprint=lambda: "", problems=lambda: [])
    expressions = tuple(Expression(name, str(i), text) for i, text in enumerate(texts))
    return Clip(name, tuple(f"{t:05d}" for t in range(T)), expressions, images)


@pytest.fixture
def write(tmp_path):
    def write(mask, **settings):
        data = png.encode_indices(mask) if mask.dtype == np.uint8 else png.encode(mask)
        (tmp_path / "given.png").write_bytes(data)
        return GivenMask(path=str(tmp_path / "given.png"), **settings)

    return write


def test_the_objects_belong_to_the_expressions_in_the_order_of_their_numbers(write):
    clip, given = clip_of(["two", "seven"]), write(NUMBERS, frame=1)
    found = check_prediction(given.predict(clip), clip, "given")
    for e, number in (("0", 2), ("1", 7)):
        assert np.array_equal(found[e].mask(1), number == NUMBERS)
        assert not any(found[e].mask(t).any() for t in (0, 2, 3))
        assert found[e].notes["key_frame"] == 1 and found[e].scores.tolist() == [0, 1, 0, 0]
    assert given.check([clip]) == []


def test_black_and_white_is_one_object(write):
    assert write(NUMBERS == 2).predict(clip_of(["it"]))["0"].mask(0).sum() == 100


@pytest.mark.parametrize(
    ("mask", "settings", "texts", "told"),
    [
        (
            NUMBERS,
            {},
            ["it"],
            r"2 object\(s\), numbers \[2, 7\], but 1 expression\(s\), \['it'\]; expected one .* each",
        ),
        (NUMBERS == 2, {"frame": 4}, ["it"], "frame 4: v has 4 frames, 0 to 3"),
        (NUMBERS[:30] == 7, {}, ["it"], "30x80 pixels .HxW., but the frames of v have 60x80"),
        (NUMBERS > 255, {}, ["it"], "empty; expected an object"),
    ],
)
def test_masks_that_do_not_fit_are_refused_before_anything_is_computed(write, mask, settings, texts, told):
    given, clip = write(mask, **settings), clip_of(texts)
    with pytest.raises(InputError, match=told):
        given.predict(clip)
    assert len(given.check([clip])) == 1


def test_one_mask_is_for_one_clip(write):
    [problem] = write(NUMBERS == 2).check([clip_of(["it"]), clip_of(["it"], "w")])
    assert "one mask, but 2 clips" in problem


def test_a_file_that_is_no_png_is_refused(tmp_path):
    (tmp_path / "given.png").write_bytes(b"no picture")
    [problem] = GivenMask(path=str(tmp_path / "given.png")).check([clip_of(["it"])])
    assert "given.png" in problem


def test_the_recipe_vos_carries_the_mask_through_a_video_file(tmp_path, capsys):
    """A textured square moves over noise; the middle frame is given, and each other frame is found by optical flow."""
    random, file = np.random.default_rng(0), tmp_path / "mine.avi"
    ground, square = (
        cv2.GaussianBlur(random.integers(0, 256, (h, w, 3), np.uint8), (0, 0), 1.5) for h, w in ((96, 128), (32, 32))
    )
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    masks = []
    for t in range(5):
        frame, mask = ground.copy(), np.zeros((96, 128), bool)
        area = np.s_[30:62, 20 + 6 * t : 52 + 6 * t]
        frame[area], mask[area] = square, True
        writer.write(frame)
        masks.append(mask)
    writer.release()
    (tmp_path / "given.png").write_bytes(png.encode(masks[2]))
    command = [f"data.video={file}", f"sources.given.path={tmp_path / 'given.png'}", f"out={tmp_path / 'out'}"]
    command += ["recipe=vos", "sources.given.frame=2", "propagators.vos={propagator: flow}", "engine.workers=1"]
    assert run_ensemble.main([*command, f"data.cache={tmp_path / 'cache'}"]) == 0, capsys.readouterr().err
    for t, mask in enumerate(masks):
        found = png.read(tmp_path / "out" / "Annotations" / "mine" / "0" / f"{t:05d}.png").values > 0
        assert iou(found, mask) > 0.7, t  # a copy of the given mask: 0.45 in the first frame
    assert (tmp_path / "out" / "overlays" / "mine").is_dir()
