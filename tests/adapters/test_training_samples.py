"""Training samples: reproducible from their seed, equal to the files of their folder, with the promised frames."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS, SPLITS
from rvos_ensemble.adapters.training import segmenters, uninext
from rvos_ensemble.adapters.training.samples.folder import FolderClips, WholeVideos
from rvos_ensemble.adapters.training.samples.rendered import RenderedClips
from rvos_ensemble.adapters.training.samples.sample import Sample, same_size

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = (64, 112)


def digest(sample: Sample) -> str:
    return hashlib.sha256(
        sample.images.tobytes() + sample.ids.tobytes() + repr(sample.expressions).encode()
    ).hexdigest()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(1, 24),
    st.sampled_from([None, *LEVELS]),
    st.booleans(),
)
def test_a_rendered_sample_has_the_documented_form(seed, index, frames, level, spread):
    sample = RenderedClips(seed, frames, SIZE, level=level, spread=spread)[index]
    assert sample.images.shape == (frames, *SIZE, 3) and sample.images.dtype == np.uint8
    assert sample.ids.shape == (frames, *SIZE) and sample.ids.dtype == np.uint8
    assert 1 <= sample.ids.max() <= 6 and sample.expressions
    texts = [text for text, _ in sample.expressions]
    assert len(set(texts)) == len(texts) and all(text.startswith("the ") for text in texts)
    assert all((sample.ids == own).any() for _, own in sample.expressions)


def test_a_sample_depends_on_seed_and_index_alone():
    clips = RenderedClips(4, 4, SIZE)
    here = [digest(clips[i]) for i in (9, 3, 9)]
    code = (
        "import hashlib; from rvos_ensemble.adapters.training.samples.rendered import RenderedClips\n"
        f"for i in (3, 9): s = RenderedClips(4, 4, {SIZE})[i]; "
        "print(hashlib.sha256(s.images.tobytes() + s.ids.tobytes() + repr(s.expressions).encode()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert there.stdout.split() == [here[1], here[0]] and here[0] == here[2]
    assert digest(RenderedClips(5, 4, SIZE)[3]) != here[1]


def test_no_sample_of_one_split_is_in_another():
    found = [
        digest(RenderedClips(seed, 1, (48, 80), split)[i]) for split in SPLITS for seed in range(3) for i in range(6)
    ]
    assert len(set(found)) == len(found)


def test_spread_frames_cover_the_clip_and_others_have_a_constant_step():
    spread, near = RenderedClips(0, 5, SIZE, spread=True), RenderedClips(0, 5, SIZE)
    rng = np.random.default_rng(0)
    steps = set()
    for _ in range(60):
        wide, close = spread._frame_indices(rng), near._frame_indices(rng)
        assert all(k * 24 // 5 <= t < (k + 1) * 24 // 5 for k, t in enumerate(wide))
        steps |= set(np.diff(close))
        assert len(set(np.diff(close))) == 1 and close[0] >= 0 and close[-1] <= 23
    assert steps == {1, 2, 3, 4}
    assert RenderedClips(0, 24, SIZE)._frame_indices(rng).tolist() == list(range(24))


def test_sentences_about_motion_need_a_spread():
    def share(spread):
        clips = RenderedClips(0, 5, (48, 80), spread=spread)
        texts = [text for i in range(20) for text, _ in clips[i].expressions]
        return np.mean([" that " in text for text in texts])

    assert 0.1 < share(False) < share(True) and share(True) > 0.3


def write(root: Path, video: str, masks, frames=None, palette=True, folder=""):
    for t, mask in enumerate(masks):
        name = f"{5 * t:05d}" if frames is None else frames[t]
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / folder / video).mkdir(parents=True, exist_ok=True)
        grey = np.full((*mask.shape, 3), 10 * t + 20, np.uint8)
        cv2.imwrite(str(root / "JPEGImages" / folder / video / f"{name}.jpg"), grey)
        image = Image.fromarray(mask)
        if palette:
            image.putpalette(list(range(256)) * 3)
        image.save(root / "Annotations" / folder / video / f"{name}.png")


def labels(frames: int, *objects: int, void=False) -> np.ndarray:
    """Every object is a separate row of pixels."""
    masks = np.zeros((frames, 24, 40), np.uint8)
    for row, k in enumerate(objects):
        masks[:, 3 * row + 1] = k
    if void:
        masks[:, -1] = 255
    return masks


def test_whole_videos_are_every_nth_frame_in_order(tmp_path):
    masks = labels(7, 5, 9, void=True)
    write(tmp_path, "a", masks)
    write(tmp_path, "b", labels(2, 3))
    a, b = WholeVideos(tmp_path, 3)
    assert [round((image.mean() - 20) / 10) for image in a.images] == [0, 3, 6] and len(b.images) == 1
    table = np.zeros(256, np.uint8)
    table[[5, 9, 255]] = 1, 2, 255
    assert (a.ids == table[masks[::3]]).all()


def test_objects_are_renumbered_and_void_is_kept(tmp_path):
    write(tmp_path / "train", "a", labels(8, 2, 7, void=True))
    meta = tmp_path / "meta_expressions" / "train"
    meta.mkdir(parents=True)
    expressions = {
        "0": {"exp": "seven", "obj_id": "7"},
        "1": {"exp": "two", "obj_id": "2"},
        "2": {"exp": "both", "obj_id": ["2", "7"]},
        "3": {"exp": "unseen", "obj_id": "5"},
    }
    frames = [f"{5 * t:05d}" for t in range(8)]
    (meta / "meta_expressions.json").write_text(
        json.dumps({"videos": {"a": {"expressions": expressions, "frames": frames}}})
    )
    sample = FolderClips(tmp_path / "train", 3)[0]
    assert sample.images.shape == (3, 24, 40, 3) and sample.expressions == (("seven", 2), ("two", 1))
    assert np.unique(sample.ids).tolist() == [0, 1, 2, 255]
    assert (sample.ids[:, 1] == 1).all() and (sample.ids[:, 4] == 2).all() and (sample.ids[:, -1] == 255).all()
    assert FolderClips(tmp_path / "train", 3).sentences == ["seven", "two", "unseen"]
    small = FolderClips(tmp_path / "train", 3, (12, 20))[0]
    assert small.images.shape == (3, 12, 20, 3) and small.ids.shape == (3, 12, 20)
    assert set(np.unique(small.ids)) <= {0, 1, 2, 255}


def write_meta(root, **sentences) -> None:
    """Writes meta_expressions.json from {video: {sentence: object}}."""
    videos = {
        video: {
            "expressions": {str(i): {"exp": text, "obj_id": own} for i, (text, own) in enumerate(of.items())},
            "frames": [f"{5 * t:05d}" for t in range(8)],
        }
        for video, of in sentences.items()
    }
    (root / "meta_expressions.json").write_text(json.dumps({"videos": videos}))


def test_every_sample_has_a_sentence_where_a_training_needs_one(tmp_path):
    write(tmp_path, "a", labels(8, 2))
    write(tmp_path, "b", labels(8, 3))
    write(tmp_path, "c", labels(8, 4))
    write_meta(tmp_path, a={"two": "2"}, c={"unseen": "9"})
    clips = FolderClips(tmp_path, 2, with_expressions=True)
    assert {clips[i].expressions for i in range(12)} == {(("two", 1),)}
    assert () in {s.expressions for s in map(FolderClips(tmp_path, 2).__getitem__, range(12))}
    write_meta(tmp_path, c={"unseen": "9"})
    with pytest.raises(InputError, match="20 clips in a row show no object that an expression refers to"):
        FolderClips(tmp_path, 2, with_expressions=True)[0]
    (tmp_path / "meta_expressions.json").unlink()
    with pytest.raises(InputError, match=r"no annotated video has an expression.*meta_expressions\.json or .*"):
        FolderClips(tmp_path, 2, with_expressions=True)


def test_a_batch_is_of_pictures_of_one_size():
    same_size([(4, 6), (4, 6)])
    with pytest.raises(InputError, match=r"images of 4x6 and 6x4 \(HxW\) in one batch; .* accumulate=3"):
        same_size([(4, 6), (6, 4), (4, 6)])


def test_words_that_no_tokenizer_knows_are_named_before_the_run(tmp_path):
    write(tmp_path, "a", labels(8, 2))
    write_meta(tmp_path, a={"the red dog": "2", "a zebra": "2"})
    for train in (lambda s: segmenters.make_task("soc", s), lambda s: uninext.make_task("uninext", s)):
        with pytest.raises(InputError, match=r"2 words that the tokenizer does not know: dog, zebra; set `tokenizer"):
            train({"data": str(tmp_path)})


@pytest.mark.parametrize("spread", [False, True])
def test_frames_of_a_folder_are_in_order_and_vary(tmp_path, spread):
    write(tmp_path, "a", labels(12, 1))
    clips = FolderClips(tmp_path, 3, seed=1, spread=spread)
    shown = [tuple(round((im.mean() - 20) / 10) for im in clips[i].images) for i in range(30)]
    assert all(a < b < c for a, b, c in shown) and len(set(shown)) > 10
    steps = {(b - a, c - b) for a, b, c in shown}
    assert all(a == b <= 5 for a, b in steps) if not spread else all(t[k] // 4 == k for t in shown for k in range(3))


def test_a_short_video_is_played_forward_and_backward(tmp_path):
    write(tmp_path, "a", labels(3, 1))
    shown = [round((im.mean() - 20) / 10) for im in FolderClips(tmp_path, 7)[0].images]
    assert shown == [0, 1, 2, 1, 0, 1, 2]
    write(tmp_path / "one", "b", labels(1, 1))
    assert FolderClips(tmp_path / "one", 4)[0].images.shape[0] == 4


def test_davis_folders_and_grey_masks_are_read(tmp_path):
    masks = np.where(labels(4, 1) > 0, 255, 0).astype(np.uint8)
    write(tmp_path, "a", masks, palette=False, folder="480p")
    sample = FolderClips(tmp_path, 2)[0]
    assert np.unique(sample.ids).tolist() == [0, 1] and sample.expressions == ()


def test_the_same_seed_gives_the_same_clips_of_a_folder(tmp_path):
    for video in "abc":
        write(tmp_path, video, labels(9, 1))
    first, again, other = (FolderClips(tmp_path, 2, seed=s) for s in (0, 0, 1))
    assert [digest(first[i]) for i in range(8)] == [digest(again[i]) for i in range(8)]
    assert [digest(first[i]) for i in range(8)] != [digest(other[i]) for i in range(8)]


def test_the_files_of_shapes_are_such_a_folder(tmp_path):
    data = Shapes(root=str(tmp_path / "r"), clips=2, frames=6, size=[48, 80])
    data.prepare()
    sample = FolderClips(tmp_path / "r" / "valid", 6)[0]
    names = {clip.name: clip for clip in data.clips()}
    assert any((clip.read(0) == sample.images[0]).all() for clip in names.values())
    assert sample.expressions == ()  # the object ids are not published


def test_faults_of_a_folder_are_named(tmp_path):
    with pytest.raises(InputError) as caught:
        FolderClips(tmp_path / "none", 2)
    assert [p.split(":")[0].rsplit("/", 1)[1] for p in caught.value.problems] == ["JPEGImages", "Annotations"]
    write(tmp_path, "a", labels(3, 1))
    (tmp_path / "JPEGImages" / "a" / "00005.jpg").unlink()
    with pytest.raises(InputError, match=r"1 annotated frames have no image: .*00005\.jpg"):
        FolderClips(tmp_path, 2)
    (tmp_path / "empty" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "empty" / "Annotations").mkdir()
    with pytest.raises(InputError, match="no annotations"):
        FolderClips(tmp_path / "empty", 2)


@pytest.mark.parametrize(
    "settings", [{"split": "dev"}, {"level": "nasty"}, {"frames": 0}, {"frames": 25}, {"seed": -1}, {"size": (0, 5)}]
)
def test_settings_that_cannot_be_rendered_are_named(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        RenderedClips(**{"seed": 0, "frames": 3, "size": SIZE, **settings})
