"""Data set readers: every layout from tiny trees, the official lists and texts, real ground truth, every bad input."""

import json
import pickle
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image
from pycocotools import mask as coco

from rvos_ensemble import adapters
from rvos_ensemble.adapters import InputError
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.prediction import sequence_problems
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.folder import VideoFolder
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import natural, object_ids
from rvos_ensemble.adapters.datasets.mevis import LISTS, Mevis
from rvos_ensemble.adapters.datasets.palette_truth import PaletteTruth
from rvos_ensemble.adapters.datasets.ref_davis17 import ANNOTATORS, RefDavis17
from rvos_ensemble.adapters.datasets.ref_youtube_vos import VALID, RefYoutubeVOS

SIZE = (12, 16)
FRAMES = [f"{t:05d}" for t in range(8)]
LABELS = np.zeros(SIZE, np.uint8)  # two objects and a void pixel
LABELS[:4, :6], LABELS[6:, 8:], LABELS[5, 5] = 1, 2, 255


def write_pictures(folder, names, size=SIZE, suffix=".jpg"):
    """Smooth pictures, each of its own brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        image = np.full((*size, 3), (20 + 10 * k, 80, 200), np.uint8)  # R, G, B
        Image.fromarray(image).save(folder / f"{name}{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))


def write_annotations(folder, names, labels=LABELS):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.png").write_bytes(png.encode_indices(labels))


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def youtube(root, videos, split="valid", objects=None, annotate=True):
    """A tree in the layout of Ref-YouTube-VOS. `videos`: {name: (frames, number of expressions)}."""
    content = {}
    for name, (frames, number) in videos.items():
        expressions = {str(i): {"exp": f"the {i}th thing"} for i in range(number)}
        for i, o in (objects or {}).items():
            expressions[i]["obj_id"] = o
        content[name] = {"expressions": expressions, "frames": frames}
        write_pictures(root / split / "JPEGImages" / name, frames)
        if annotate:
            write_annotations(root / split / "Annotations" / name, frames)
    write_json(root / "meta_expressions" / split / "meta_expressions.json", {"videos": content})
    return content


def failure(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


class TestRefYoutubeVOS:
    def test_frames_and_order_come_from_the_json(self, tmp_path):
        frames = ["00005", "00010", "00020", "00040"]  # does not start at 0, has gaps
        youtube(tmp_path, {"b": (frames, 12), "a": (["00000"], 1)})
        write_pictures(tmp_path / "valid" / "JPEGImages" / "b", ["00015"])  # on disk, not in the json
        a, b = RefYoutubeVOS(root=str(tmp_path)).clips()
        assert (a.name, b.name) == ("a", "b")
        assert list(b.frames) == frames
        assert [e.id for e in b.expressions] == [str(i) for i in range(12)]  # "2" before "10"
        assert [e.id for e in a.expressions] == ["0"]
        assert b.expressions[10].text == "the 10th thing" and b.expressions[10].objects == ()
        assert b.size == SIZE and b.truth is None  # annotated, but without the object of each expression
        image = b.read(3)
        assert image.shape == (*SIZE, 3) and image.dtype == np.uint8
        assert abs(image.reshape(-1, 3).astype(int) - (50, 80, 200)).max() <= 3

    def test_no_picture_is_needed_to_plan(self, tmp_path):
        youtube(tmp_path, {"a": (["00000", "00005"], 2)})
        for path in (tmp_path / "valid" / "JPEGImages" / "a").iterdir():
            path.unlink()
        (clip,) = RefYoutubeVOS(root=str(tmp_path)).clips()
        assert len(clip) == 2

    def test_train_has_objects_and_truth(self, tmp_path):
        youtube(tmp_path, {"a": (["00000", "00005"], 3)}, "train", {"0": "1", "1": "2", "2": "2"})
        dataset = RefYoutubeVOS(root=str(tmp_path), split="train")
        (clip,) = dataset.clips()
        assert [e.objects for e in clip.expressions] == [("1",), ("2",), ("2",)]
        truth = clip.truth.read("1")
        assert sequence_problems(truth, clip, "1", "truth") == [] and truth.kind == "binary"
        assert np.array_equal(truth.mask(1), LABELS == 2)
        assert clip.truth.read("9") is None
        assert dataset.check() == []

    def test_secret_objects_feed_the_truth_only(self, tmp_path):
        youtube(tmp_path, {"a": (["00000"], 2), "b": (["00000"], 2)})
        write_json(tmp_path / "meta_expressions/valid/obj_ids.json", {"a": {"0": "2"}})
        a, b = RefYoutubeVOS(root=str(tmp_path)).clips()
        assert [e.objects for e in a.expressions] == [(), ()]
        assert np.array_equal(a.truth.read("0").mask(0), LABELS == 2)
        assert a.truth.read("1") is None and b.truth is None
        side = tmp_path / "elsewhere.json"
        write_json(side, {"b": {"1": 1}})
        a, b = RefYoutubeVOS(root=str(tmp_path), obj_ids=str(side)).clips()
        assert a.truth is None and b.truth.read("1").mask(0).sum() == 24

    def test_layout_of_2020(self, tmp_path):
        objects = {
            "10": {"category": "cat", "frames": ["00010", "00015"], "expressions": ["late one"]},
            "2": {"category": "dog", "frames": ["00005", "00010"], "expressions": ["a dog", "the dog on the left"]},
        }
        write_json(tmp_path / "meta_expressions/train/meta_expressions.json", {"videos": {"a": {"objects": objects}}})
        (clip,) = RefYoutubeVOS(root=str(tmp_path), split="train").clips()
        assert clip.frames == ("00005", "00010", "00015")
        assert [(e.id, e.text, e.objects) for e in clip.expressions] == [
            ("0", "a dog", ("2",)),
            ("1", "the dog on the left", ("2",)),
            ("2", "late one", ("10",)),
        ]

    def test_subset(self, tmp_path):
        youtube(tmp_path, {name: (["00000"], 1) for name in "abc"})
        assert [c.name for c in RefYoutubeVOS(root=str(tmp_path), videos=["c", "a"]).clips()] == ["a", "c"]
        assert [c.name for c in RefYoutubeVOS(root=str(tmp_path), videos="b").clips()] == ["b"]
        assert "no video 'd'" in failure(RefYoutubeVOS(root=str(tmp_path), videos=["a", "d"]).clips)


class TestOfficialList:
    @pytest.fixture
    def official(self, shared):
        return shared / "data" / "expressions" / "ref_ytvos_valid_meta_expressions.json"

    @staticmethod
    def counts(clips):
        pairs = [(len(c), len(c.expressions)) for c in clips]
        return len(pairs), sum(n for _, n in pairs), sum(t for t, _ in pairs), sum(t * n for t, n in pairs)

    @pytest.mark.parametrize("split, counts", [("valid", (202, 834, 5486, 22046)), ("test", (305, 1262, 8224, 32724))])
    def test_counts(self, official, tmp_path, split, counts):
        clips = RefYoutubeVOS(root=str(tmp_path), split=split, meta=str(official)).clips()
        assert self.counts(clips) == counts

    def test_equals_the_samples_of_soc(self, official, shared, tmp_path):
        clips = RefYoutubeVOS(root=str(tmp_path), meta=str(official)).clips()
        ours = {(c.name, e.id): (e.text, c.frames) for c in clips for e in c.expressions}
        samples = json.loads((shared / "data/expressions/ref_ytvos_valid202_soc_samples.json").read_text())
        assert ours == {(v, e["exp_id"]): (e["exp"], tuple(frames)) for v, frames, e in samples}

    def test_gaps_and_late_starts_are_kept(self, official, tmp_path):
        clips = [
            c
            for split in ("valid", "test")
            for c in RefYoutubeVOS(root=str(tmp_path), split=split, meta=str(official)).clips()
        ]
        assert sum(c.frames[0] == "00000" for c in clips) == 434
        assert (
            sum(len({int(b) - int(a) for a, b in zip(c.frames, c.frames[1:], strict=False)}) > 1 for c in clips) == 19
        )
        assert min(len(c.expressions) for c in clips) == 1
        longest = max(clips, key=lambda c: len(c.expressions))
        assert [e.id for e in longest.expressions] == [str(i) for i in range(12)]

    def test_found_in_the_tree_with_and_without_a_test_json(self, official, tmp_path):
        folder = tmp_path / "meta_expressions"
        (folder / "valid").mkdir(parents=True)
        (folder / "valid" / "meta_expressions.json").write_bytes(official.read_bytes())
        without = RefYoutubeVOS(root=str(tmp_path)).clips()
        test = RefYoutubeVOS(root=str(tmp_path), split="test").clips()
        assert {c.name for c in without} == VALID
        assert test[0].images.folder == str(tmp_path / "valid" / "JPEGImages"), "where the pictures would be"
        videos = json.loads(official.read_text())["videos"]
        kept = {name: entry for name, entry in videos.items() if name not in VALID}
        write_json(folder / "test" / "meta_expressions.json", {"videos": kept})
        (tmp_path / "test").mkdir()
        assert RefYoutubeVOS(root=str(tmp_path)).clips() == without
        test = RefYoutubeVOS(root=str(tmp_path), split="test").clips()
        assert self.counts(test) == (305, 1262, 8224, 32724)
        assert test[0].images.folder == str(tmp_path / "test" / "JPEGImages")
        kept.popitem()  # a damaged list must not let a test video slip into valid
        write_json(folder / "test" / "meta_expressions.json", {"videos": kept})
        assert "203 of the 507" in failure(RefYoutubeVOS(root=str(tmp_path)).clips)

    def test_shipped_list(self, shared):
        ids = (shared / "data/expressions/ref_ytvos_valid_ids.txt").read_text().split()
        assert set(ids) == VALID and len(VALID) == 202


class TestRealClips:
    def test_truth_equals_pillow(self, shared):
        root = shared / "data" / "ref_davis_mini"
        dataset = RefYoutubeVOS(root=str(root))
        clips = dataset.clips()
        assert [(c.name, len(c), len(c.expressions)) for c in clips] == [
            ("blackswan", 50, 4),
            ("car-shadow", 40, 4),
            ("dog", 60, 4),
            ("libby", 49, 4),
        ]
        assert dataset.check() == []
        for clip in clips:
            assert clip.size == (480, 854)
            truth = clip.truth.read("3")
            assert sequence_problems(truth, clip, "3", "truth") == []
            for t in range(0, len(clip), 7):
                path = root / "valid" / "Annotations" / clip.name / f"{clip.frames[t]}.png"
                expected = np.array(Image.open(path)) == 255
                assert expected.any() and np.array_equal(truth.mask(t), expected)
        picture = np.array(Image.open(root / "valid/JPEGImages/dog/00010.jpg").convert("RGB"))
        assert abs(clips[2].read(10).astype(int) - picture).mean() < 1  # two JPEG decoders

    def test_void_is_background(self, shared):
        folder = shared / "data/multi_object/davis_interactive_testdata"
        names = ("00000", "00001")
        images = ImageFiles(tuple(folder / "JPEGImages/480p/tennis" / f"{n}.jpg" for n in names))
        annotations = tuple(folder / "Annotations/480p/tennis" / f"{n}.png" for n in names)
        truth = PaletteTruth(annotations, {"0": ("1",), "1": ("1", "2")}, images)
        for t, path in enumerate(annotations):
            labels = np.array(Image.open(path))
            assert (labels == 255).any()
            assert np.array_equal(truth.read("0").mask(t), labels == 1)
            assert np.array_equal(truth.read("1").mask(t), (labels == 1) | (labels == 2))


class TestRefDavis17:
    @pytest.fixture
    def samples(self, shared):
        """{video: [(id, text, object)]} of all 30 videos, as SOC's converter ordered them."""
        content = json.loads((shared / "data/expressions/ref_davis17_valid_soc_samples.json").read_text())
        videos = {}
        for name, _, e in content:
            videos.setdefault(name, []).append((e["exp_id"], e["exp"], e["obj_id"]))
        return videos

    @staticmethod
    def write(root, videos, davis="DAVIS", truth="Annotations_unsupervised", frames=("00000", "00001", "00002")):
        """The official tree; lines in random order of videos and objects, the second annotator in Latin-1."""
        shuffled = random.Random(0)
        texts = root / "davis_text_annotations"
        texts.mkdir(parents=True)
        for k, annotator in enumerate(ANNOTATORS):
            lines = [(v, o, text) for v, es in videos.items() for i, text, o in es if int(i) % 4 == k]
            shuffled.shuffle(lines)
            wrong = {"classic-car": "clasic-car", "dogs-scale": "dog-scale", "motorbike": "motor-bike"}
            text = "".join(f'{wrong.get(v, v)} {o} "{text}"\n' for v, o, text in lines)
            (texts / f"{annotator}.txt").write_bytes(text.encode("latin-1" if "annot2" in annotator else "utf-8"))
        (root / davis / "ImageSets/2017").mkdir(parents=True)
        (root / davis / "ImageSets/2017/val.txt").write_text("\n".join(videos) + "\n")
        for name in videos:
            write_pictures(root / davis / "JPEGImages/480p" / name, frames)
            write_annotations(root / davis / truth / "480p" / name, frames)

    def test_texts_round_trip(self, samples, tmp_path):
        self.write(tmp_path, samples, frames=("00000",))
        clips = RefDavis17(root=str(tmp_path)).clips()
        assert len(clips) == 30 and sum(len(c.expressions) for c in clips) == 244
        for clip in clips:
            assert [(e.id, e.text, *e.objects) for e in clip.expressions] == samples[clip.name]

    def test_spelling_encoding_and_truth(self, tmp_path):
        es = [(str(4 * o + k), f"café {o}{k}", str(o + 1)) for o in range(2) for k in range(4)]
        videos = {"motorbike": es, "classic-car": es[:4], "dogs-scale": es}
        self.write(tmp_path, videos, davis=".")
        with (tmp_path / "davis_text_annotations/Davis17_annot1.txt").open("a") as file:
            file.write('\nsomething-else 1 "not a video of val"\n')
        dataset = RefDavis17(root=str(tmp_path))
        clips = dataset.clips()
        assert [c.name for c in clips] == ["classic-car", "dogs-scale", "motorbike"]
        assert [(e.id, e.text, *e.objects) for e in clips[1].expressions] == es
        assert clips[1].frames == ("00000", "00001", "00002")
        assert np.array_equal(clips[1].truth.read("6").mask(2), LABELS == 2)
        assert dataset.check() == []

    def test_which_annotations(self, tmp_path):
        videos = {"a": [(str(k), "x", "1") for k in range(4)]}
        self.write(tmp_path, videos, truth="Annotations")

        def mask(**settings):
            return RefDavis17(root=str(tmp_path), **settings).clips()[0].truth.read("0").mask(0)

        assert np.array_equal(mask(), LABELS == 1)
        names = ["00000", "00001", "00002"]
        write_annotations(tmp_path / "DAVIS/Annotations_unsupervised/480p/a", names, (LABELS == 2).view(np.uint8))
        assert np.array_equal(mask(), LABELS == 2)
        assert np.array_equal(mask(annotations="Annotations"), LABELS == 1)
        assert "given as `annotations`" in failure(lambda: mask(annotations="Annotation"))

    def test_converted(self, tmp_path):
        youtube(tmp_path, {"dog": (["00000"], 4)}, objects={str(i): "1" for i in range(4)})
        (clip,) = RefDavis17(root=str(tmp_path)).clips()
        assert [e.objects for e in clip.expressions] == [("1",)] * 4
        assert np.array_equal(clip.truth.read("2").mask(0), LABELS == 1)

    def test_texts_that_disagree(self, tmp_path):
        self.write(tmp_path, {"a": [(str(k), "x", "1") for k in range(4)], "b": [("0", "x", "1"), ("1", "x", "1")]})
        with (tmp_path / "davis_text_annotations/Davis17_annot2.txt").open("a") as file:
            file.write("a one\n")
        assert "annot2.txt, line 2: 'a one'" in failure(RefDavis17(root=str(tmp_path)).clips)
        (tmp_path / "davis_text_annotations/Davis17_annot2.txt").write_text('a 2 "x"\n')
        message = failure(RefDavis17(root=str(tmp_path)).clips)
        assert "video 'a'" in message and "Davis17_annot2: ['2']" in message and "video 'b'" in message
        (tmp_path / "davis_text_annotations/Davis17_annot1.txt").unlink()
        assert "Davis17_annot1.txt: cannot be read" in failure(RefDavis17(root=str(tmp_path)).clips)


class TestMevis:
    @pytest.fixture
    def root(self, tmp_path):
        frames = ["00000", "00001", "00002"]

        def runs(mask):
            rle = coco.encode(np.asfortranarray(mask.view(np.uint8)))
            return {"size": list(rle["size"]), "counts": rle["counts"].decode()}

        overlap = LABELS == 2
        overlap[0, 0] = True  # also inside the other object
        masks = {"7": [runs(LABELS == 1), None, None], "8": [runs(overlap), runs(overlap), None]}
        expressions = {
            "0": {"exp": "the two that move", "obj_id": [3, 5], "anno_id": [7, 8]},
            "1": {"exp": "the last to leave", "obj_id": [5], "anno_id": [8]},
        }
        video = {"expressions": expressions, "frames": frames}
        write_json(tmp_path / "valid_u/meta_expressions.json", {"videos": {"v": video}})
        write_json(tmp_path / "valid_u/mask_dict.json", masks)
        write_pictures(tmp_path / "valid_u/JPEGImages/v", frames)
        return tmp_path

    def test_union_and_absence(self, root):
        dataset = Mevis(root=str(root))
        (clip,) = dataset.clips()
        assert [e.objects for e in clip.expressions] == [("3", "5"), ("5",)]
        both, one = clip.truth.read("0"), clip.truth.read("1")
        assert sequence_problems(both, clip, "0", "truth") == []
        overlap = (LABELS == 2) | (np.arange(LABELS.size) == 0).reshape(SIZE)
        expected = [((LABELS == 1) | overlap, overlap), (overlap, overlap), (overlap & False, overlap & False)]
        for t, (union, second) in enumerate(expected):
            assert np.array_equal(both.mask(t), union) and np.array_equal(one.mask(t), second)
            assert both.mask(t).dtype == bool
        assert clip.truth.read("2") is None
        assert dataset.check() == [] and dataset.zip_root == ""

    def test_the_servers_split_has_texts_only(self, root):
        video = {"expressions": {"0": {"exp": "x"}}, "frames": ["00000"]}
        write_json(root / "valid/meta_expressions.json", {"videos": {"v": video}})
        (clip,) = Mevis(root=str(root), split="valid").clips()
        assert clip.truth is None and clip.expressions[0].objects == ()

    def test_masks_that_do_not_fit(self, root):
        path = root / "valid_u/mask_dict.json"
        masks = json.loads(path.read_text())
        write_json(path, {"7": masks["7"][:2], "9": []})
        message = failure(Mevis(root=str(root)).clips)
        assert "2 masks of annotation '7'" in message and "no masks of annotation '8'" in message
        size, good = list(SIZE), masks["8"][0]["counts"]
        for wrong, words in (
            ("not runs", "expected null or"),
            ({"counts": good}, "expected null or"),
            ({"size": [4, 48], "counts": good}, "size [4, 48], expected the clip's [12, 16]"),
            ({"size": size, "counts": ""}, "do not add up to 12x16"),
            ({"size": size, "counts": good[:-1]}, "do not add up to 12x16"),
            ({"size": size, "counts": "garbage"}, "do not add up to 12x16"),
        ):
            masks["7"][0] = wrong
            write_json(path, masks)
            (clip,) = Mevis(root=str(root)).clips()
            (problem,) = Mevis(root=str(root)).check()
            assert f"{path}: annotation '7', frame number 0: " in problem and words in problem
            assert failure(lambda clip=clip: clip.truth.read("0").mask(0)) == problem
        assert "no such file" in failure(Mevis(root=str(root), split="nowhere").clips)

    def test_expressions_that_refer_to_nothing_are_annotated(self, root):
        """As in MeViSv2; a missing `anno_id` or null is no annotation."""
        nothing = {"exp": "the one that flies", "obj_id": [], "anno_id": [], "audio_id": 12, "audio": "12.mp3"}
        bare, null = {"exp": "unknown"}, {"exp": "unknown", "anno_id": None}
        path = root / "valid_u/meta_expressions.json"
        content = json.loads(path.read_text())
        content["videos"]["v"]["expressions"] |= {"2": nothing, "3": bare, "4": null}
        content["videos"]["w"] = {"expressions": {"0": nothing}, "frames": ["00000", "00001"]}
        write_json(path, content)
        write_pictures(root / "valid_u/JPEGImages/w", ["00000", "00001"])
        v, w = Mevis(root=str(root)).clips()
        assert [(e.id, e.objects) for e in v.expressions][2:] == [("2", ()), ("3", ()), ("4", ())]
        presence = {e.id: getattr(v.truth.read(e.id), "presence", "unknown") for e in v.expressions}
        assert presence == {"0": 1.0, "1": 1.0, "2": 0.0, "3": "unknown", "4": "unknown"}
        for clip, e in ((v, "2"), (w, "0")):
            truth = clip.truth.read(e)
            assert truth.is_empty() and sequence_problems(truth, clip, e, "truth") == []
        assert v.problems() == [] == v.inspect() and w.problems() == [] == w.inspect()
        del content["videos"]["v"]["expressions"]["2"]
        write_json(path, content)
        assert Mevis(root=str(root)).clips()[0].truth.fingerprint() != v.truth.fingerprint()
        (root / "valid_u/mask_dict.json").unlink()  # the list of a server's split proves nothing
        assert all(clip.truth is None for clip in Mevis(root=str(root)).clips())

    @pytest.mark.parametrize("name", [name for names in LISTS.values() for name in names])
    def test_every_published_name_of_the_list(self, root, name):
        (root / "valid_u/meta_expressions.json").rename(root / "valid_u" / name)
        assert [c.name for c in Mevis(root=str(root)).clips()] == ["v"]
        version = next(v for v, names in LISTS.items() if name in names)
        assert [c.name for c in Mevis(root=str(root), version=version).clips()] == ["v"]
        message = failure(Mevis(root=str(root), version=3 - version).clips)
        assert f"{root / 'valid_u'}: no such file" in message and f"and {3 - version} its `version`?" in message

    def test_lists_of_both_versions_in_one_folder(self, root):
        path, second = root / "valid_u/meta_expressions.json", root / "valid_u/meta_expressions_v2.json"
        content = json.loads(path.read_text())
        content["videos"]["v"]["expressions"]["0"]["exp"] = "of version 2"
        write_json(second, content)
        message = failure(Mevis(root=str(root)).clips)
        assert "meta_expressions.json, meta_expressions_v2.json; say which" in message
        assert "data.version=1 or data.version=2 or data.meta=FILE" in message

        def text(**settings):
            return Mevis(root=str(root), **settings).clips()[0].expressions[0].text

        assert (text(version=1), text(version=2)) == ("the two that move", "of version 2")
        assert text(meta=str(second)) == "of version 2" == text(meta=str(second), version=1)
        write_json(root / "valid_u/meta_expressions_v2_release.json", content)
        message = failure(Mevis(root=str(root), version=2).clips)
        assert "meta_expressions_v2.json, meta_expressions_v2_release.json; say which" in message
        assert "version=" not in message and "data.meta=FILE" in message

    def test_fingerprint(self, root):
        before = Mevis(root=str(root)).clips()[0].truth.fingerprint()
        path = root / "valid_u/mask_dict.json"
        masks = json.loads(path.read_text())
        masks["7"][0] = None
        write_json(path, masks)
        assert Mevis(root=str(root)).clips()[0].truth.fingerprint() != before


class TestFolder:
    @pytest.mark.parametrize("top", ["JPEGImages", "."])
    def test_natural_order_and_both_layouts(self, tmp_path, top):
        write_pictures(tmp_path / top / "holiday", ["f10", "f9", "f1"], suffix=".png")
        write_pictures(tmp_path / top / "dog", ["0", "1"])
        (tmp_path / "notes").mkdir()
        dog, holiday = VideoFolder(root=str(tmp_path)).clips()
        assert (dog.name, holiday.name) == ("dog", "holiday")
        assert holiday.frames == ("f1", "f9", "f10")
        assert holiday.read(2)[0, 0].tolist() == [20, 80, 200]  # f10 was written first; PNG is exact
        assert [(e.id, e.text) for e in dog.expressions] == [("0", "")]

    @pytest.mark.parametrize("suffix", [".json", ".yaml"])
    def test_expressions(self, tmp_path, suffix):
        write_pictures(tmp_path / "a", ["0"])
        write_pictures(tmp_path / "b", ["0"])
        sentences = {"a": ["a dog", "a cat"], "b": {"0": "a car", "5": {"exp": "a bus", "obj_id": "2"}}}
        (tmp_path / f"expressions{suffix}").write_text(json.dumps(sentences))  # json is yaml, too
        for expressions in (sentences, f"expressions{suffix}"):
            a, b = VideoFolder(root=str(tmp_path), expressions=expressions).clips()
            assert [(e.id, e.text, e.objects) for e in a.expressions] == [("0", "a dog", ()), ("1", "a cat", ())]
            assert [(e.id, e.text, e.objects) for e in b.expressions] == [("0", "a car", ()), ("5", "a bus", ("2",))]
        a, b = VideoFolder(root=str(tmp_path), expressions=["a dog"]).clips()
        assert a.expressions[0].text == b.expressions[0].text == "a dog"

    def test_truth(self, tmp_path):
        write_pictures(tmp_path / "a", ["0"])
        write_pictures(tmp_path / "b", ["0"])
        (tmp_path / "Annotations" / "a").mkdir(parents=True)
        (tmp_path / "Annotations/a/0.png").write_bytes(png.encode(LABELS == 1))
        a, b = VideoFolder(root=str(tmp_path)).clips()
        assert b.truth is None
        assert np.array_equal(a.truth.read("0").mask(0), LABELS == 1)
        write_annotations(tmp_path / "Annotations/b", ["0"])
        _, b = VideoFolder(root=str(tmp_path)).clips()
        assert "objects 1 and 2 are annotated" in failure(lambda: b.truth.read("0").mask(0))
        expressions = {"b": {"0": {"exp": "x", "obj_id": 2}}, "a": ["x"]}
        _, b = VideoFolder(root=str(tmp_path), expressions=expressions).clips()
        assert np.array_equal(b.truth.read("0").mask(0), LABELS == 2)

    def test_bad_input(self, tmp_path):
        assert "no such folder" in failure(VideoFolder(root=str(tmp_path / "nowhere")).clips)
        assert "no videos" in failure(VideoFolder(root=str(tmp_path)).clips)
        write_pictures(tmp_path / "a", ["0"])
        assert "expressions of zebra" in failure(VideoFolder(root=str(tmp_path), expressions={"zebra": ["x"]}).clips)
        write_pictures(tmp_path / "b", ["0"])
        assert "video 'b'" in failure(VideoFolder(root=str(tmp_path), expressions={"a": ["x"]}).clips)
        assert "should be in a list" in failure(VideoFolder(root=str(tmp_path), expressions="a dog").clips)
        (tmp_path / "bad.yaml").write_text("a: [")
        assert "bad.yaml" in failure(VideoFolder(root=str(tmp_path), expressions="bad.yaml").clips)
        write_pictures(tmp_path / "a", ["0"], suffix=".png")
        assert "a frame name is listed twice" in failure(VideoFolder(root=str(tmp_path)).clips)


class TestBadFiles:
    @pytest.fixture
    def tree(self, tmp_path):
        youtube(tmp_path, {"a": (FRAMES, 1), "b": (FRAMES[:2], 1)}, objects={"0": "1"})
        return tmp_path

    def test_missing_frames_are_counted(self, tree):
        folder = tree / "valid/JPEGImages/a"
        for name in FRAMES[2:]:
            (folder / f"{name}.jpg").unlink()
        dataset = RefYoutubeVOS(root=str(tree))
        (problem,) = dataset.check()
        assert problem == f"{folder}: 6 of 8 frames missing: 00002.jpg, 00003.jpg, 00004.jpg and 3 more"
        a, b = dataset.clips()
        assert b.problems() == [] and a.problems() == [problem]
        assert f"{folder / '00002.jpg'}: cannot be read" in failure(lambda: a.read(2))
        assert "00002.jpg" in failure(lambda: a.fingerprint)

    def test_no_folder(self, tree):
        for name in FRAMES:
            (tree / f"valid/JPEGImages/a/{name}.jpg").unlink()
            (tree / f"valid/Annotations/a/{name}.png").unlink()
        (tree / "valid/JPEGImages/a").rmdir()
        (tree / "valid/Annotations/a").rmdir()
        frames, annotations = RefYoutubeVOS(root=str(tree)).check()
        assert "no such folder, expected 8 frames in it, 00000.jpg to 00007.jpg" in frames
        assert "no such folder, expected 8 annotations" in annotations

    @pytest.mark.parametrize("left", [0, 10, 0.5, -2])
    def test_cut_off(self, tree, left):
        path = tree / "valid/JPEGImages/a/00000.jpg"
        data = path.read_bytes()
        path.write_bytes(data[: int(left * len(data)) if isinstance(left, float) else left])
        a, _ = RefYoutubeVOS(root=str(tree)).clips()
        assert str(path) in failure(lambda: a.read(0))
        if left in (0, 10):  # the header is gone, too
            assert f"{path}: not a JPEG or PNG picture" in RefYoutubeVOS(root=str(tree)).check()[0]

    def test_a_decoder_that_fills_with_grey_is_not_trusted(self, tree, monkeypatch):
        path = tree / "valid/JPEGImages/a/00000.jpg"
        path.write_bytes(path.read_bytes()[:-2])
        monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((*SIZE, 3), np.uint8))
        a, _ = RefYoutubeVOS(root=str(tree)).clips()
        assert "not a readable picture" in failure(lambda: a.read(0))

    def test_other_size(self, tree):
        write_pictures(tree / "valid/JPEGImages/a", FRAMES[3:], size=(16, 12))
        problems = RefYoutubeVOS(root=str(tree)).check()
        assert len(problems) == 4 and "and 2 more frames like this" in problems[3]
        assert "00003.jpg: 16x12 (HxW), expected 12x16" in problems[0]
        a, _ = RefYoutubeVOS(root=str(tree)).clips()
        assert a.read(2).shape == (*SIZE, 3)
        assert "00003.jpg: 16x12 (HxW)" in failure(lambda: a.read(3))

    def test_annotations(self, tree):
        folder = tree / "valid/Annotations/a"
        write_annotations(folder, ["00003"], LABELS[:6])
        (folder / "00005.png").unlink()
        missing, size = RefYoutubeVOS(root=str(tree)).check()
        assert "1 of 8 annotations missing: 00005.png" in missing
        assert "00003.png: 6x16 (HxW), expected 12x16" in size
        a, _ = RefYoutubeVOS(root=str(tree)).clips()
        truth = a.truth.read("0")
        assert np.array_equal(truth.mask(2), LABELS == 1)
        assert "00003.png: 6x16 (HxW)" in failure(lambda: truth.mask(3))
        assert "00005.png: cannot be read" in failure(lambda: truth.mask(5))
        (folder / "00000.png").write_bytes(b"no picture")
        assert "00000.png: not a PNG" in failure(lambda: truth.mask(0))

    @pytest.mark.parametrize("wrong", ["3", "0", "255", "dog", "1000"])
    def test_object_without_annotation(self, tmp_path, wrong):
        youtube(tmp_path, {"a": (["00000", "00005"], 1)}, objects={"0": wrong})
        dataset = RefYoutubeVOS(root=str(tmp_path))
        (problem,) = dataset.check()
        assert f"expression '0' refers to object {wrong!r}, which is in none of the 2 annotations" in problem
        assert failure(lambda: dataset.clips()[0].truth.read("0")) == problem

    def test_late_object_is_no_problem(self, tree):
        write_annotations(tree / "valid/Annotations/a", FRAMES[:6], np.zeros(SIZE, np.uint8))
        dataset = RefYoutubeVOS(root=str(tree))
        assert dataset.check() == []
        truth = dataset.clips()[0].truth.read("0")
        assert not truth.mask(5).any() and truth.mask(6).any()

    def test_json(self, tree):
        path = tree / "meta_expressions/valid/meta_expressions.json"
        text = path.read_text()

        def message(content):
            path.write_text(content)
            return failure(RefYoutubeVOS(root=str(tree)).clips)

        assert f"{path}: not a json file" in message(text[:100])
        assert f"{path}: not a json file" in message("")
        assert 'expected {"videos"' in message("[]")
        assert 'expected {"videos"' in message('{"videos": {}}')
        good = json.loads(text)["videos"]
        reported = message(
            json.dumps(
                {
                    "videos": {
                        "a": {"frames": [], "expressions": {"0": {"exp": 3}}},
                        "b": {"objects": {"1": {"frames": ["0"]}}},
                        "c": [],
                        "d": {**good["a"], "expressions": {}},
                        "e": {**good["a"], "frames": ["1", "1"]},
                        "f/g": good["a"],
                    }
                }
            )
        )
        assert len(reported.splitlines()) == 8  # every problem at once
        for part in (
            "'a': `frames`",
            "'a': expression '0' has no text",
            "'b': `objects`",
            "'c': `frames`",
            "'c': `exp",
        ):
            assert part in reported
        for part in ("'d': `expressions`", "'e': a frame name is listed twice", "'f/g' cannot be a file name"):
            assert part in reported

    def test_split_and_side_files(self, tree):
        assert "split 'vaild' does not exist; the splits are valid" in failure(
            RefYoutubeVOS(root=str(tree), split="vaild").clips
        )
        assert "meta_expressions has no splits" in failure(RefYoutubeVOS(root=str(tree / "valid")).clips)
        assert "nowhere.json: cannot be read" in failure(RefYoutubeVOS(root=str(tree), meta="nowhere.json").clips)
        assert "nowhere.json: cannot be read" in failure(RefYoutubeVOS(root=str(tree), obj_ids="nowhere.json").clips)
        write_json(tree / "ids.json", {"a": "1"})
        assert "expected {video: {expression: obj_id}}" in failure(
            RefYoutubeVOS(root=str(tree), obj_ids=str(tree / "ids.json")).clips
        )
        assert "`root` must be given" in failure(RefYoutubeVOS)


class TestParts:
    def test_travel_to_workers(self, tmp_path):
        youtube(tmp_path, {"a": (["00000", "00005"], 1)}, objects={"0": "2"})
        (clip,) = RefYoutubeVOS(root=str(tmp_path)).clips()
        copy = pickle.loads(pickle.dumps(clip))
        assert copy == clip and copy.fingerprint == clip.fingerprint
        masks = pickle.loads(pickle.dumps(copy.truth.read("0")))
        assert np.array_equal(masks.mask(1), LABELS == 2)

    def test_fingerprints_follow_content_and_order(self, tmp_path):
        write_pictures(tmp_path, ["0", "1"])
        paths = (tmp_path / "0.jpg", tmp_path / "1.jpg")
        before = ImageFiles(paths).fingerprint()
        assert ImageFiles(paths[::-1]).fingerprint() != before
        data = bytearray(paths[1].read_bytes())
        data[-3] ^= 1
        paths[1].write_bytes(data)
        assert ImageFiles(paths).fingerprint() != before
        one = PaletteTruth(paths, {"0": ("1",)}, ImageFiles(paths)).fingerprint()
        assert one != PaletteTruth(paths, {"0": ("2",)}, ImageFiles(paths)).fingerprint()

    def test_orientation_tag_is_ignored(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # "rotate by 90 degrees to show"
        Image.fromarray(np.zeros((8, 20, 3), np.uint8)).save(tmp_path / "0.jpg", exif=exif)
        images = ImageFiles((tmp_path / "0.jpg",))
        assert images.size == (8, 20) and images.read(0).shape == (8, 20, 3)

    @given(st.data())
    def test_union_of_objects(self, tmp_path_factory, data):
        labels = np.array(
            data.draw(st.lists(st.sampled_from([0, 1, 2, 9, 254, 255]), min_size=12, max_size=12)), np.uint8
        )
        labels = labels.reshape(3, 4)
        present = sorted(set(labels.flat) - {0, 255})
        wanted = data.draw(st.sets(st.sampled_from(present), min_size=1)) if present else {7}
        folder = tmp_path_factory.mktemp("truth")
        Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(folder / "0.jpg")
        write_annotations(folder, ["0"], labels)
        objects = tuple(str(i) for i in wanted)
        truth = PaletteTruth((folder / "0.png",), {"e": objects}, ImageFiles((folder / "0.jpg",)))
        if present:
            assert np.array_equal(truth.read("e").mask(0), np.isin(labels, list(wanted)))
        else:
            assert "object '7'" in failure(lambda: truth.read("e"))

    @given(st.lists(st.integers(0, 10**6), unique=True))
    def test_natural_order_of_numbers_is_numeric(self, numbers):
        assert sorted(map(str, numbers), key=natural) == [str(n) for n in sorted(numbers)]

    def test_names_of_any_kind_can_be_sorted(self):
        assert sorted(["b1", "10", "2", "b", "", "٣"], key=natural)[:3] == ["", "2", "10"]
        assert object_ids([]) == ()

    @pytest.mark.parametrize("name", ["ref_youtube_vos", "ref_davis17", "mevis", "folder"])
    def test_found_by_name(self, name):
        component = find(name, Dataset, adapters.datasets, "rvos_ensemble.datasets")
        assert {"root", "videos"} <= component.defaults.keys()
        recipe = Path(__file__).parents[2] / "recipes" / "data" / f"{name}.yaml"
        settings = OmegaConf.to_container(OmegaConf.load(recipe))
        assert settings.pop("dataset") == name and settings["root"] == "???"
        assert component(**{**settings, "root": "somewhere"}).settings.videos is None
