"""Tracklets: candidates, Eq. 3 and NMS against naive loops, proposals on disk, and real ones."""

import json

import numpy as np
import pytest
from helpers.tiny import make_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from benchmarks.tracklets import BUDGET, peak_of
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects, check_prediction
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.files.readers.coco_rle import encode
from rvos_ensemble.adapters.proposals import Proposals
from rvos_ensemble.adapters.simulated_proposals import SimulatedProposals
from rvos_ensemble.ensemble.engine.storage import store
from rvos_ensemble.ensemble.fusion.tracklets import (
    candidates,
    fused,
    key_frames,
    nms,
    tracklet_iou,
    tracklet_score,
    with_answers,
)
from rvos_ensemble.ensemble.metrics import scores as metrics
from rvos_ensemble.ensemble.steps.candidates import Candidates
from rvos_ensemble.ensemble.steps.tracklets import Tracklets

T, H, W = 6, 9, 70
sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 7), st.sampled_from([1, 7, 8, 63, 64, 65, 130]))


class Blank:
    size = (H, W)

    def read(self, t):
        return np.zeros((H, W, 3), np.uint8)

    def fingerprint(self):
        return ""


def clip_of(length=T, name="v", truth=None):
    return Clip(name, tuple(f"{5 * t:05d}" for t in range(length)), (Expression(name, "0", "a dog"),), Blank(), truth)


def naive_iou(a, b):
    """Eq. 3, pixel by pixel."""
    common = union = 0
    for t, y, x in np.ndindex(a.shape):
        common += bool(a[t, y, x] and b[t, y, x])
        union += bool(a[t, y, x] or b[t, y, x])
    return common / union if union else 0.0


def naive_nms(iou, scores, max_iou, most):
    """Repeatedly takes the best one that is left and drops those that overlap it."""
    left, kept = list(range(len(scores))), []
    while left and len(kept) < most:
        best = max(left, key=lambda i: (scores[i], -i))
        kept.append(best)
        left = [i for i in left if i != best and iou[best][i] <= max_iou]
    return kept


@settings(max_examples=60, deadline=None)
@given(sizes.flatmap(lambda s: arrays(bool, s)))
def test_tracklet_iou_is_the_definition(masks):
    packed = [MaskSequence.binary(m) for m in masks]
    soft = [MaskSequence.prob(m.astype(np.uint8) * np.uint8(128)) for m in masks]  # just above one half
    expected = [[naive_iou(a, b) for b in masks] for a in masks]
    assert tracklet_iou(packed).tolist() == expected
    assert tracklet_iou(soft).tolist() == expected


@given(st.integers(1, 8), st.integers(1, 8), st.floats(0, 1), st.randoms(use_true_random=False))
def test_nms_is_the_definition(n, most, max_iou, random):
    iou = np.eye(n)
    for i in range(n):
        for j in range(i):
            iou[i, j] = iou[j, i] = random.random()
    scores = [random.choice([0.1, 0.5, 0.5, 0.9]) for _ in range(n)]
    assert nms(iou, scores, max_iou, most) == naive_nms(iou, scores, max_iou, most)


def test_a_tracklets_score_is_confidence_times_mean_probability():
    candidate = MaskSequence.binary(np.ones((T, H, W), bool), [0, 0, 0.8, 0, 0, 0])
    tracklet = MaskSequence.prob(np.zeros((T, H, W), np.uint8), [0, 0.5, 1, 1, 0.5, 0])
    assert tracklet_score(candidate, tracklet) == pytest.approx(0.8 * 3 / 6)
    assert tracklet_score(candidate.with_(scores=None), tracklet) == pytest.approx(3 / 6)


def objects(random, n=3, there=None):
    """Blocks at random positions, visible only in the frames `there`."""
    found = Objects()
    for i in range(n):
        masks = np.zeros((T, H, W), bool)
        for t in there or range(T):
            y, x = random.integers(0, 4), random.integers(0, W - 20)
            masks[t, y : y + 5, x : x + 20] = True
        scores = np.where(masks.any((1, 2)), random.random(T), 0)
        found[str(i)] = MaskSequence.binary(masks, scores)
    return found


def test_candidates_are_the_masks_of_k_uniform_frames():
    random = np.random.default_rng(0)
    a, b = objects(random), objects(random, 2)
    found = Candidates("c", inputs=["a", "b"], k=2, most=2).run(clip_of(), {"a": a, "b": b})
    assert {name.partition("/")[0] for name in found} == {"a", "b"}
    assert len(found) == 2 * 2 + 2 * 2, "of three objects of `a` the two best of each frame"
    for name, sequence in found.items():
        source, _, rest = name.partition("/")
        t, i = rest.split(".")
        original = {"a": a, "b": b}[source][i]
        assert t in ("1", "4") and sequence.notes["key_frame"] == int(t)
        for other in range(T):
            expected = original.mask(other) if other == int(t) else np.zeros((H, W), bool)
            assert np.array_equal(sequence.mask(other), expected)
        assert sequence.scores.max() == original.scores[int(t)] == sequence.scores[int(t)]
    best = {name.partition(".")[2] for name in found if name.startswith("a/1.")}
    assert best == {str(i) for i in np.argsort([-s.scores[1] for s in a.values()])[:2]}


def test_candidates_below_the_least_score_are_left_out():
    found = {"a": objects(np.random.default_rng(0))}
    scores = {i: sequence.scores[1] for i, sequence in found["a"].items()}
    least = sorted(scores.values())[1]
    step = Candidates("c", inputs=["a"], k=1, min_score=float(least))
    (t,) = {name.partition("/")[2].partition(".")[0] for name in step.run(clip_of(), found)}
    scores = {i: sequence.scores[int(t)] for i, sequence in found["a"].items()}
    kept = {name.partition(".")[2] for name in step.run(clip_of(), found)}
    assert kept == {i for i, score in scores.items() if score >= least} and 0 < len(kept) < len(scores)


def test_key_frames_move_to_where_something_was_found():
    there = objects(np.random.default_rng(0), 2, there=(0, 5))
    assert key_frames({"a": there}, T, 7) == [0, 5]
    assert key_frames({"a": there}, T, 1) == [5]
    assert key_frames({"a": Objects()}, T, 7) == []
    assert len(candidates({"a": there}, [0, 3, 5], 0.0, 20)) == 4


def test_tracklets_drop_what_is_the_same_object():
    block = np.zeros((T, H, W), bool)
    block[:, 2:6, 10:30] = True
    other = np.roll(block, 35, axis=2)
    tracks = Objects(
        weak=MaskSequence.binary(block, np.full(T, 0.5)),
        strong=MaskSequence.binary(block, np.full(T, 0.9)),
        other=MaskSequence.binary(other, np.full(T, 0.4)),
    )
    step = Tracklets("n", input="t", scores_from="c", max_iou=0.5, keep=10)
    found = step.run(clip_of(), {"t": tracks, "c": tracks})
    assert list(found) == ["strong", "other"]
    assert found["strong"].notes["tracklet_score"] == pytest.approx(0.81)
    everything = Tracklets("n", input="t", scores_from="c", max_iou=1.0, keep=None)
    assert list(everything.run(clip_of(), {"t": tracks, "c": tracks})) == ["strong", "weak", "other"]
    with pytest.raises(InputError, match="not computed from the candidates"):
        step.run(clip_of(), {"t": tracks, "c": Objects()})


def test_duplicates_vote_on_the_masks_of_the_tracklet_that_is_kept():
    """Two of three tracklets of an object agree where the best one is wrong; another object is left alone."""
    truth, wrong = np.zeros((T, H, W), bool), np.zeros((T, H, W), bool)
    truth[:, 2:6, 10:30], wrong[:, 2:6, 10:22], wrong[:, 2:6, 30:36] = True, True, True
    other = np.zeros((T, H, W), bool)
    other[:, 2:6, 50:60] = True
    scored = {"best": (wrong, 0.9), "second": (truth, 0.6), "third": (truth, 0.5), "other": (other, 0.4)}
    tracks = Objects({k: MaskSequence.binary(m, np.full(T, p, np.float32)) for k, (m, p) in scored.items()})
    ones = Objects({k: s.with_(scores=np.ones(T, np.float32)) for k, s in tracks.items()})
    inputs, options = {"t": tracks, "c": ones}, {"input": "t", "scores_from": "c", "max_iou": 0.2}
    kept = Tracklets("n", **options, fuse=0.3).run(clip_of(), inputs)
    assert list(kept) == ["best", "other"]
    assert np.array_equal([kept["best"].mask(t) for t in range(T)], truth)
    assert np.array_equal([kept["other"].mask(t) for t in range(T)], other)
    assert np.array_equal(kept["best"].scores, tracks["best"].scores)
    for alone in ({}, {"fuse": 0.6}):  # IoU of best and second: 48 of 104 pixels a frame
        own = Tracklets("n", **options, **alone).run(clip_of(), inputs)
        assert np.array_equal([own["best"].mask(t) for t in range(T)], wrong)


@given(st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_fused_is_a_weighted_majority(n, random):
    masks = np.array([random.random() < 0.5 for _ in range(n * 2 * 3 * 4)]).reshape(n, 2, 3, 4)
    weights = [random.randrange(0, 5) / 4 for _ in range(n)]  # exact in binary
    found = fused([MaskSequence.binary(m) for m in masks], weights)
    for t, y, x in np.ndindex(2, 3, 4):
        votes = sum(w for w, m in zip(weights, masks, strict=True) if m[t, y, x])
        expected = votes >= sum(weights) / 2 if sum(weights) and n > 1 else masks[0, t, y, x]
        assert found.mask(t)[y, x] == expected


def test_objects_travel_through_the_store_and_say_what_they_are():
    found = objects(np.random.default_rng(0), 2)
    back = store.decode(store.encode(found))
    assert isinstance(back, Objects) and list(back) == list(found)
    assert check_prediction(back, clip_of(), "s") is back
    with pytest.raises(InputError, match="`ground` them"):
        back["0 of an expression"]
    with pytest.raises(InputError, match="expected 6, one for every frame"):
        check_prediction(Objects(a=MaskSequence.binary(np.zeros((2, H, W), bool))), clip_of(), "s")


# --------------------------------------------------------------------------------------------------- proposals on disk
def masks_of(objects_: Objects, name: str) -> list[np.ndarray]:
    return [objects_[name].mask(t) for t in range(T)]


@pytest.fixture
def written(tmp_path):
    """The same two proposals in frames 1 and 4 in every format, {format: adapter}."""
    clip, random = clip_of(), np.random.default_rng(1)
    a = np.zeros((H, W), bool)
    a[1:4, 3:20] = True
    b = np.zeros((H, W), bool)
    b[5:8, 30:65] = True
    frames = {t: clip.frames[t] for t in (1, 4)}
    for name in frames.values():
        file = tmp_path / "tree" / "Annotations" / "v" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((a + 2 * b).astype(np.uint8), "P")
        picture.putpalette(random.integers(0, 256, 768, np.uint8).tolist())
        picture.save(file)
    rles = encode([a, b])
    own = {"v": {f: [{**rle, "score": s} for rle, s in zip(rles, (0.9, 0.3), strict=True)] for f in frames.values()}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    numbers = {f: i for i, f in enumerate(frames.values())}
    coco = [
        {"image_id": numbers[f], "category_id": 1, "segmentation": rle, "score": s, "bbox": [0, 0, 1, 1]}
        for f in frames.values()
        for rle, s in zip(rles, (0.9, 0.3), strict=True)
    ]
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    images = [{"id": i, "file_name": f"train/JPEGImages/v/{f}.jpg"} for f, i in numbers.items()]
    (tmp_path / "images.json").write_text(json.dumps({"images": images}))
    named = [{**row, "image_id": f"v/{list(numbers)[row['image_id']]}"} for row in coco]
    (tmp_path / "named.json").write_text(json.dumps(named))
    return {
        "tree": Proposals(path=str(tmp_path / "tree")),
        "own": Proposals(path=str(tmp_path / "own.json")),
        "coco": Proposals(path=str(tmp_path / "coco.json"), images=str(tmp_path / "images.json")),
        "named": Proposals(path=str(tmp_path / "named.json")),
    }, (a, b)


@pytest.mark.parametrize("form", ["tree", "own", "coco", "named"])
def test_other_proposals_have_another_fingerprint(written, form, tmp_path):
    adapter, clip = written[0][form], clip_of()
    before = adapter.fingerprint(clip)
    assert before == written[0][form].fingerprint(clip)
    if form == "tree":
        file = tmp_path / "tree" / "Annotations" / "v" / f"{clip.frames[1]}.png"
        picture = Image.open(file)
        picture.putpixel((0, 0), 1)
        picture.save(file)
    else:
        file = tmp_path / f"{form}.json"
        file.write_text(file.read_text().replace("0.9", "0.8"))
    assert adapter.fingerprint(clip) != before


def test_a_grey_mask_is_one_proposal(tmp_path):
    """0 and 255, as most tools write a mask; in a palette image 255 is void."""
    clip, mask = clip_of(), np.zeros((H, W), np.uint8)
    mask[1:4, 3:20] = 255
    file = tmp_path / "v" / f"{clip.frames[2]}.png"
    file.parent.mkdir()
    Image.fromarray(mask).save(file)
    found = Proposals(path=str(tmp_path)).predict(clip)
    assert list(found) == ["1"] and np.array_equal(found["1"].mask(2), mask > 0) and not found["1"].mask(1).any()
    picture = Image.fromarray(mask, "P")
    picture.putpalette(list(range(256)) * 3)
    (tmp_path / "void" / "v").mkdir(parents=True)
    picture.save(tmp_path / "void" / "v" / file.name)
    assert not Proposals(path=str(tmp_path / "void")).predict(clip)


@pytest.mark.parametrize("form", ["tree", "own", "coco", "named"])
def test_every_format_gives_the_same_proposals(written, form):
    adapters, (a, b) = written
    adapter = adapters[form]
    assert adapter.check([clip_of()]) == []
    found = check_prediction(adapter.predict(clip_of()), clip_of(), form)
    names = ["1", "2"] if form == "tree" else ["0", "1"]
    assert list(found) == names
    for name, mask, score in zip(names, (a, b), (0.9, 0.3), strict=True):
        for t in range(T):
            assert np.array_equal(found[name].mask(t), mask & (t in (1, 4)))
            wanted = (1.0 if form == "tree" else score) if t in (1, 4) else 0.0
            assert found[name].scores[t] == pytest.approx(wanted)
    assert adapter.fingerprint(clip_of())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "cannot be read as json"),
        ([{"image_id": 3}], 'expected {"image_id", "segmentation", "score"}'),
        ([{"image_id": 3, "segmentation": {}, "score": 1.0}], "which `images` does not list"),
        ({"v": {"00000": [{"size": [H, W], "counts": "0"}]}}, "the score None"),
        ({"v": {"00000": [{"size": [H, W], "counts": "0", "score": 1.5}]}}, "the score 1.5"),
        ({"v": {"00000": [{"size": [2, 2], "counts": "04", "score": 0.5}]}}, "size .2, 2., expected"),
        ({"v": {"00000": [{"size": [H, W], "counts": "01", "score": 0.5}]}}, "do not add up"),
        ({"w": {}}, "no proposals of video 'v'"),
        ({"v": []}, "expected a list of COCO results"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    problems = Proposals(path=str(path)).check([clip_of()])
    assert problems and str(path) in problems[0]
    with pytest.raises(InputError, match=message):
        raise InputError(problems)


def test_pictures_of_another_size_are_named(tmp_path):
    (tmp_path / "v").mkdir()
    Image.fromarray(np.ones((H, W + 1), np.uint8), "P").save(tmp_path / "v" / "00000.png")
    assert "expected the clip's 9x70" in Proposals(path=str(tmp_path)).check([clip_of()])[0]
    assert "no proposals of video" in Proposals(path=str(tmp_path)).check([clip_of(name="w")])[0]
    assert "expected a folder" in Proposals(path=str(tmp_path / "x.png")).check([clip_of()])[0]


# ------------------------------------------------------------------------------------------------ simulated and real
def test_simulated_proposals_are_the_truth_with_errors(tmp_path):
    clip = RefYoutubeVOS(root=str(make_tiny(tmp_path, ("a",)).root), split="valid").clips()[0]
    found = SimulatedProposals().predict(clip)
    assert list(found) == list(SimulatedProposals().predict(clip))
    truths = [clip.truth.read(e.id) for e in clip.expressions]
    best, false = [], 0
    for sequence in found.values():
        for t in np.flatnonzero(sequence.scores):
            mask = sequence.mask(t)
            iou = max((mask & s.mask(t)).sum() / (mask | s.mask(t)).sum() for s in truths)
            best.append(iou)
            false += iou < 0.2
    assert 0.5 < np.median(best) < 0.9 and false > 0  # objects of 20 pixels, outlines off by one or two
    perfect = SimulatedProposals(miss=0.0, cut=0.0, merge=0.0, twice=0.0, ghosts=0.0, outline=0.0).predict(clip)
    assert len(perfect) == 2, "two blocks, though three sentences"
    other = SimulatedProposals(seed=1).predict(clip)
    assert any(not np.array_equal(other[i].mask(0), found[i].mask(0)) for i in set(other) & set(found))
    assert "no ground truth" in SimulatedProposals().check([clip_of()])[0]


def test_tracklets_of_real_proposals(shared):
    """Proposals of RVOS on two real clips: NMS keeps few, and the best is as good as the best proposal track."""
    data = shared / "data"
    root = str(data / "ref_davis_mini")
    for clip in RefYoutubeVOS(root=root, split="valid", videos=["blackswan", "dog"]).clips():
        proposals = Proposals(path=str(data / "predictions" / "rvos_proposals"))
        assert proposals.check([clip]) == []
        found = Candidates("c", inputs=["rvos"]).run(clip, {"rvos": proposals.predict(clip)})
        assert 7 <= len(found) <= 7 * 20
        whole = proposals.predict(clip)  # each candidate's tracklet: the model's own track, which costs nothing here
        tracks = Objects((name, whole[name.rpartition(".")[2]]) for name in found)
        kept = Tracklets("n", input="t", scores_from="c").run(clip, {"t": tracks, "c": found})
        assert 1 <= len(kept) <= 10
        truth = clip.truth.read(clip.expressions[0].id)
        best = max(metrics.score_sequence(s, truth).mean().JF for s in whole.values())
        assert max(metrics.score_sequence(s, truth).mean().JF for s in kept.values()) == best
        iou = tracklet_iou(list(kept.values()))
        assert (iou - np.eye(len(kept))).max() <= 0.5


@pytest.mark.slow
def test_memory_of_a_clip_stays_within_its_budget():
    """36 frames x 7 key frames x 20 candidates at 480p, as `python -m benchmarks.tracklets` prints it."""
    peak, made, kept = peak_of()
    assert made == 140 and kept == 10
    assert peak < BUDGET


def block(x, width=20):
    mask = np.zeros((H, W), bool)
    mask[2:7, x : x + width] = True
    return mask


def answer(shown, scores):
    """Masks of an expression: {frame: mask}, {frame: score}."""
    masks = np.zeros((T, H, W), bool)
    for t, mask in shown.items():
        masks[t] = mask
    return MaskSequence.binary(masks, np.array([scores.get(t, 0) for t in range(T)], np.float32))


def test_answers_of_a_detector_are_candidates_that_know_their_expressions():
    """Masks that are nearly the same are one candidate; the limit of candidates is not for answers."""
    detector = {
        "0": answer({1: block(0), 4: block(40)}, {1: 0.5, 4: 0.6}),
        "1": answer({1: block(0, 19)}, {1: 0.9}),
        "2": answer({1: block(0, 10)}, {1: 0.1}),
        "3": answer({}, {}),
    }
    step = Candidates("c", inputs=["dino"], k=T, most=1, min_score=0.2)
    found = step.run(clip_of(), {"dino": detector})
    answers = {name: {e: round(score, 6) for e, score in s.notes["answers"].items()} for name, s in found.items()}
    assert answers == {"dino/1.1": {"1": 0.9, "0": 0.5}, "dino/4.0": {"0": 0.6}}
    assert np.array_equal(found["dino/1.1"].mask(1), block(0, 19)) and found["dino/4.0"].notes["key_frame"] == 4


def test_duplicates_leave_their_answers_to_the_tracklet_that_is_kept():
    everywhere = dict.fromkeys(range(T), block(0))
    tracks = Objects(
        best=answer(everywhere, dict.fromkeys(range(T), 0.9)).with_(notes={"answers": {"0": 0.4}}),
        same=answer(everywhere, dict.fromkeys(range(T), 0.8)).with_(notes={"answers": {"0": 0.6, "1": 0.3}}),
        other=answer(dict.fromkeys(range(T), block(40)), {}),
    )
    kept = Tracklets("t", input="tracks", scores_from="c").run(clip_of(), {"tracks": tracks, "c": tracks})
    assert list(kept) == ["best", "other"]
    assert kept["best"].notes["answers"] == {"0": 0.6, "1": 0.3} and "answers" not in kept["other"].notes


@given(st.integers(1, 6), st.integers(0, 4), st.randoms(use_true_random=False))
def test_no_answer_of_an_overlapping_tracklet_is_lost(n, count, random):
    iou = np.eye(n)
    for i in range(n):
        for j in range(i):
            iou[i, j] = iou[j, i] = random.choice([0, random.random()])
    answers = [{str(random.randrange(3)): random.random()} if random.random() < 0.7 else {} for _ in range(n)]
    kept = random.sample(range(n), min(n, count))
    merged = with_answers(kept, iou, answers)
    assert [set(own) >= set(answers[k]) for k, own in zip(kept, merged, strict=True)] == [True] * len(kept)
    for i in set(range(n)) - set(kept):
        holders = [m for k, m in zip(kept, merged, strict=True) if iou[i, k] > 0]
        assert not holders or all(any(own.get(e, -1) >= s for own in holders) for e, s in answers[i].items())
