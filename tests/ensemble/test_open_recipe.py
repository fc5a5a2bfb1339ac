"""The recipe `open` as a new user runs it: from a video file and sentences to masks and what it understood."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_detectors, tiny_sam
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.inference.image_classes import extra
from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork

H, W, SIDE = 64, 96, 16
SQUARES = {"red": ((210, 20, 30), 10, 8), "green": ((30, 140, 40), 40, 64)}  # {name: (colour, y, x at first)}
FINDER = '''
import numpy as np
import rvos_ensemble as rv
from rvos_ensemble.adapters.core.instances import seed
from rvos_ensemble.adapters.core.prediction import Objects


class Finder(rv.Adapter):
    """The squares of the first and the last frame, and the background as a candidate of a lower score."""

    objects = True

    def predict(self, clip):
        result = Objects()
        for t in sorted({0, len(clip) - 1}):
            frame = clip.read(t).astype(int)
            red, green = frame[..., 0] - frame[..., 1] > 60, frame[..., 1] - frame[..., 0] > 60
            for name, mask, score in (("red", red, 0.9), ("green", green, 0.8), ("rest", ~red & ~green, 0.1)):
                result[f"{t}.{name}"] = seed(len(clip), t, mask, score)
        return result

    def fingerprint(self, clip):
        return ""
'''
FLOW = ["propagators.quick.propagator=flow", "propagators.vos.propagator=flow", "engine.workers=1"]


def video(path, frames, size=(H, W), step=1):
    """A video of two squares of which the red one moves to the right."""
    scale = size[0] // H
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, size[::-1])
    for t in range(frames):
        frame = np.full((*size, 3), 128, np.uint8)
        for name, (colour, y, x) in SQUARES.items():
            x += step * t if name == "red" else 0
            frame[scale * y : scale * (y + SIDE), scale * x : scale * (x + SIDE)] = colour[::-1]
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The arguments of a run with a source that finds the squares; image classes are not installed."""
    monkeypatch.setattr(extra, "path_of", lambda package: None)
    finder = tmp_path / "finder.py"
    finder.write_text(FINDER)

    def arguments(frames, sentences, **options):
        path = video(tmp_path / "clip.mp4", frames, **options)
        data = [f"data.video={path}", f"data.expressions={json.dumps(sentences)}", f"data.cache={tmp_path / 'cache'}"]
        return ["recipe=open", f"sources.objects.adapter={finder}", *data, *FLOW, f"out={tmp_path / 'out'}"]

    return arguments


def masks(out, expression):
    files = sorted((out / "Annotations" / "clip" / expression).iterdir())
    return np.stack([np.array(Image.open(file)) > 0 for file in files])


def test_it_says_what_it_understood_and_what_not(command, tmp_path, capsys):
    sentences = ["the red thing", "the one on the right", "the purple one", "der rote Klotz links oben", "?!"]
    assert run_ensemble.main(command(5, sentences)) == 0
    printed = capsys.readouterr().out
    for line in (
        r"words: clip, 'the red thing': objects/\d\.\d\.red by red: colour \(1\.00\)",
        r"words: clip, 'the one on the right': objects/\d\.\d\.green by on the right: place right",
        r"words: clip, 'the purple one': empty, because nothing fits: presence 0\.",
        r"words: clip, 'der rote Klotz links oben': empty, because nothing was understood; not understood: der",
        r"words: clip, '\?!': empty, because nothing was understood; the sentence has no words",
    ):
        assert re.search(line, printed), printed
    assert "the purple one" in (tmp_path / "out" / "report.html").read_text()
    red, right = masks(tmp_path / "out", "0"), masks(tmp_path / "out", "1")
    for t in range(5):
        for found, (_, y, x) in ((red, SQUARES["red"]), (right, SQUARES["green"])):
            truth = np.zeros((H, W), bool)
            x += t if found is red else 0
            truth[y : y + SIDE, x : x + SIDE] = True
            assert (found[t] & truth).sum() / (found[t] | truth).sum() > 0.8
    assert not any(masks(tmp_path / "out", str(e)).any() for e in (2, 3, 4))


def test_an_empty_sentence_is_refused_before_anything_runs(command, capsys):
    assert run_ensemble.main(command(1, ["the red one", ""])) == 2
    assert "expected a list of sentences, none of them empty" in capsys.readouterr().err


def test_a_video_of_one_frame(command, tmp_path, capsys):
    assert run_ensemble.main(command(1, ["the green one", "the blue one"])) == 0
    assert masks(tmp_path / "out", "0").sum() == pytest.approx(SIDE**2, rel=0.2)
    assert not masks(tmp_path / "out", "1").any()
    assert "nothing fits" in capsys.readouterr().out


def test_the_candidate_network_runs_in_the_recipe(command, tmp_path):
    torch.manual_seed(0)
    torch.save(CandidateNetwork(16, 32).state_dict(), tmp_path / "weights.pth")
    network = ["sources.objects.adapter=objects", f"sources.objects.weights={tmp_path / 'weights.pth'}"]
    settings = ["sources.objects.threshold=0.0", "sources.objects.k=2", "steps.candidates.most=2"]
    assert run_ensemble.main([*command(3, ["the red one"]), *network, *settings]) == 0
    notes = json.loads((tmp_path / "out" / "manifest.json").read_text())["clips"]["clip"]["notes"]
    assert notes["words"]["0"]["words"]["understood"].startswith("red: colour")


@pytest.mark.parametrize("detector", ["grounding_dino", "sam3"])
def test_a_detector_that_reads_sentences_takes_the_place_of_the_objects(detector, command, tmp_path, capsys):
    if detector == "sam3":  # as facebook/sam3: detector and tracker in one folder
        weights = tiny_detectors.write(tmp_path / "sam3", "sam3", tiny_detectors.sam3_video())
        other = [f"propagators.{p}.{s}" for p in ("quick", "vos") for s in ("propagator=sam3", f"weights={weights}")]
        other += ["steps.tracklets.keep=null"]
    else:
        weights = tiny_detectors.write(tmp_path / "dino", "grounding-dino")
        sam = tiny_sam.write_folder(tmp_path / "sam", tiny_sam.tiny_sam("sam2"))
        other = [f"sources.objects.masks={sam}"]
    source = [f"sources.objects.{s}" for s in (f"adapter={detector}", f"weights={weights}", "threshold=0.1", "k=1")]
    assert run_ensemble.main([*command(2, ["a red dog", "the cat"]), *source, *other]) == 0, capsys.readouterr()
    notes = json.loads((tmp_path / "out" / "manifest.json").read_text())["clips"]["clip"]["notes"]
    for e, said in notes["words"].items():
        assert said["words"]["answered"] and "the sentence: answer of the detector" in said["words"]["understood"]
        assert e in notes["tracklets"][said["object"]]["answers"]
    assert masks(tmp_path / "out", "0").any()


def test_labels_of_a_segmenter_count_as_names(command, tmp_path, capsys):
    weights = tiny_detectors.write(tmp_path / "mask2former", "mask2former")
    source = ["adapter=mask2former", f"weights={weights}", "threshold=0.0", "k=1"]
    named = list(tiny_detectors.CLASSES.values())
    settings = [*(f"sources.objects.{s}" for s in source), "steps.tracklets.max_iou=1.0", "steps.candidates.most=8"]
    assert run_ensemble.main([*command(1, [f"the {n}" for n in named]), *settings]) == 0, capsys.readouterr()
    notes = json.loads((tmp_path / "out" / "manifest.json").read_text())["clips"]["clip"]["notes"]
    labels = {name: said["label"] for name, said in notes["tracklets"].items()}
    assert 2 <= len(set(labels.values())) < len(named)
    for e, name in enumerate(named):
        chosen, there = notes["words"][str(e)], name in labels.values()
        assert chosen["words"]["understood"] == f"{name}: the label of the detector ({there:.2f})"
        assert (labels[chosen["object"]] == name) == there == masks(tmp_path / "out", str(e)).any()


def test_the_top_down_system_with_nothing_simulated(command, tmp_path):
    given = [a.replace("sources.objects", "sources.proposals") for a in command(4, ["the red one", "the right one"])]
    given = ["recipe=topdown_real", "propagators.aot.propagator=flow", *(a for a in given[1:] if a not in FLOW[:2])]
    assert run_ensemble.main(given) == 0
    notes = json.loads((tmp_path / "out" / "manifest.json").read_text())["clips"]["clip"]["notes"]
    for step in ("image_level", "grounded", "topdown"):
        assert [notes[step][e]["object"].split(".")[-1] for e in ("0", "1")] == ["red", "green"]
    assert len(notes["tracklets"]) < len(notes["every_tracklet"]) == len(notes["tracks"]) == 6
    assert masks(tmp_path / "out", "0").any(axis=(1, 2)).all()


@pytest.mark.slow
def test_a_video_of_4k_fits_into_memory(command, tmp_path):
    size = (H * 34, W * 34)  # 2176 x 3264
    assert run_ensemble.main(command(3, ["the red one"], size=size)) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert masks(tmp_path / "out", "0").shape[1:] == size and manifest["peak_mb"] < 3000
