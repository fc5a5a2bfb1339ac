"""ReferFormer, MUTR, SOC and UNINEXT as adapters: the official procedure written down by hand, and every setting."""

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from helpers.rvos_weights import official, tokenizer_of, weights_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_propagate import Memory
from torch.nn import functional as F

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights
from rvos_ensemble.adapters.inference.segmenter import Segmenter
from rvos_ensemble.adapters.inference.tokenization import load_tokenizer
from rvos_ensemble.adapters.mutr import MUTRAdapter
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.interface import Answer
from rvos_ensemble.adapters.referformer import ReferFormerAdapter
from rvos_ensemble.adapters.soc import SOCAdapter
from rvos_ensemble.adapters.uninext import UNINEXTAdapter
from rvos_ensemble.ensemble.engine.storage.store import decode
from rvos_ensemble.ensemble.recipe import components

CLASSES = {"referformer": ReferFormerAdapter, "mutr": MUTRAdapter, "soc": SOCAdapter, "uninext": UNINEXTAdapter}
SHORT = {"referformer": 64, "mutr": 64, "soc": 64, "uninext": 190}  # UNINEXT needs 900 cells for its queries
SENTENCES = ("a dog running on the left", "the second person")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """model -> the settings of its adapter: weights of the tiny geometry, tokenizer, a small input."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def get(model, **more):
        if model not in made:
            tokenizer = tokenizer_of(model, folder / model)
            words = load_tokenizer(text.BERT if model == "uninext" else text.ROBERTA, str(tokenizer))
            weights = official(
                model, weights_of(model, words.get_vocab_size(), seed=5 * (model == "mutr")), folder / f"{model}.pth"
            )
            made[model] = {"weights": str(weights), "tokenizer": str(tokenizer), "short_side": SHORT[model]}
        return {**made[model], **more}

    return get


def video(length, size=(48, 70), seed=0):
    """Smooth noise that drifts, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8), (size[1] + 64, size[0]))
    return np.stack([ground[:, t % 64 : t % 64 + size[1]] for t in range(length)])


def clip_of(frames, sentences=SENTENCES):
    expressions = tuple(Expression("v", str(i), s) for i, s in enumerate(sentences))
    return Clip("v", tuple(f"{t:05d}" for t in range(len(frames))), expressions, Memory(frames))


def write(folder, frames):
    (folder / "v").mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "v" / f"{t:05d}.png")
    return folder


# The official procedure -------------------------------------------------------------------------------------------


@given(st.integers(10, 2000), st.integers(10, 2000))
def test_sizes_are_those_of_the_official_transforms(h, w):
    def torchvision(size):  # T.Resize(size) of a PIL picture
        return (size, int(size * w / h)) if h <= w else (int(size * h / w), size)

    assert preprocess.input_size((h, w), 360, None, "torchvision") == torchvision(360)
    size = 360  # SOC's RandomResize([360], max_size=640)
    if float(max(w, h)) / float(min(w, h)) * size > 640:
        size = round(640 * float(min(w, h)) / float(max(w, h)))
    assert preprocess.input_size((h, w), 360, 640, "torchvision") == torchvision(size)
    scale = 480 * 1.0 / min(h, w)  # Detectron2's ResizeShortestEdge(480, 1333)
    new_h, new_w = (480, scale * w) if h < w else (scale * h, 480)
    if max(new_h, new_w) > 1333:
        scale = 1333 * 1.0 / max(new_h, new_w)
        new_h, new_w = new_h * scale, new_w * scale
    assert preprocess.input_size((h, w), 480, 1333, "detectron2") == (int(new_h + 0.5), int(new_w + 0.5))


def by_hand(model, given, frames):
    """{expression: (masks bool [T, H, W], scores [T])} as the official scripts make them, one sentence at a time."""
    adapter = CLASSES[model](**given)
    network = adapter.segmenter.checkpoint.network()
    h, w = frames.shape[1:3]
    new_h, new_w = preprocess.input_size((h, w), given["short_side"], adapter.settings.long_side, adapter.resize)
    pictures = [np.asarray(Image.fromarray(f).resize((new_w, new_h), Image.BILINEAR)) for f in frames]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    if model == "uninext":
        mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    else:
        x, mean, std = x / 255, torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / std[:, None, None]
    found = {}
    for i, sentence in enumerate(SENTENCES):
        ids = torch.tensor([adapter.segmenter.tokenizer.encode(sentence).ids])
        with torch.no_grad():
            states = network.language_model(ids)
            words = text.Text(states[0], torch.zeros_like(ids).bool(), None if model == "uninext" else states[1])
            features = network.encode(x)
            # of UNINEXT's 900 queries a frame, the masks of the best alone
            answer = network.answer(features, words, masks_for="selected" if model == "uninext" else "all")
        if model == "uninext":
            scores, logits = answer.query_scores[0].amax(1), answer.logits[0]
            assert torch.equal(answer.query[0], answer.query_scores[0].argmax(1))
            large = F.interpolate(logits[None], scale_factor=4, mode="bilinear", align_corners=False).sigmoid()
            masks = F.interpolate(large[:, :, :new_h, :new_w], size=(h, w), mode="nearest")[0] > 0.5
        else:
            best = answer.query_scores[0].argmax()
            logits = answer.logits[0, best]
            masks = F.interpolate(logits[None], size=(h, w), mode="bilinear", align_corners=False)[0].sigmoid() > 0.5
            scores = None if answer.scores is None else answer.scores[0, best]
        found[str(i)] = masks.numpy(), scores
    return found


@pytest.mark.parametrize("model", CLASSES)
def test_a_recipe_writes_the_masks_of_the_official_procedure(model, settings, tmp_path):
    frames = video(2, seed=5 * (model == "uninext"))  # of which no two of its 900 queries tie
    data, given, out = write(tmp_path / "data", frames), settings(model), tmp_path / "out"
    file = tmp_path / "own.yaml"
    file.write_text(
        json.dumps(
            {
                "data": {"dataset": "folder", "root": str(data), "expressions": list(SENTENCES)},
                "sources": {"m": {"adapter": model, **given}},
                "output": "m",
            }
        )
    )
    assert run_ensemble.main([f"recipe={file}", f"out={out}", "report=false"]) == 0
    record = json.loads((out / "clips" / "v.json").read_text())
    stored = next((out / "store" / "v").glob("m-*.masks"))
    kept = decode(stored.read_bytes())
    for i, (masks, scores) in by_hand(model, given, frames).items():
        ours = np.stack([np.asarray(Image.open(out / "Annotations" / "v" / i / f"{t:05d}.png")) for t in range(2)]) > 0
        assert masks.mean() > 0.01 and not masks.all(), "degenerate weights prove nothing"
        assert (ours & masks).sum() / (ours | masks).sum() >= 0.999
        notes = record["notes"]["m"][i]
        assert notes["model"].startswith(model) and notes["score_source"]
        assert ("none" in notes["score_source"]) == (scores is None) == (model == "mutr")
        if model != "uninext":
            assert len(notes["query"]) == 1 and len(notes["query_scores"][0]) == (20 if model == "soc" else 5)
        if scores is not None:
            assert np.allclose(kept[i].scores, scores.numpy(), atol=1e-5)
    small = -(-given["short_side"] // 4) * (given["short_side"] // 2)  # cells of a frame, more than there are
    assert stored.stat().st_size < 2 * 2 * 2 * small + 5000  # two expressions of small logits
    before = stored.stat().st_mtime_ns
    assert run_ensemble.main([f"recipe={file}", f"out={out}", "report=false"]) == 0  # computed once
    assert stored.stat().st_mtime_ns == before


@pytest.mark.parametrize("model", ["referformer", "soc", "mutr"])
def test_steps_and_company_change_nothing(model, settings):
    clip = clip_of(video(5))
    whole = CLASSES[model](**settings(model, frames_per_step=99)).predict(clip)
    check_prediction(whole, clip, model)
    small = CLASSES[model](**settings(model, frames_per_step=2, expressions_per_step=1)).predict(clip)
    alone = CLASSES[model](**settings(model)).predict(clip_of(video(5), SENTENCES[1:]))
    for a, b in ((whole["0"], small["0"]), (whole["1"], small["1"]), (whole["1"], alone["0"])):
        assert np.allclose(np.float32(a.masks.logits), np.float32(b.masks.logits), rtol=2e-3, atol=2e-3)  # float16
        assert a.scores is None or np.allclose(a.scores, b.scores, atol=1e-5)


def test_one_frame_is_a_clip(settings):
    for model in ("mutr", "soc"):
        clip = clip_of(video(1))
        found = check_prediction(CLASSES[model](**settings(model)).predict(clip), clip, model)
        assert len(found["0"]) == 1


def test_the_layer_that_answers_is_a_choice(settings):
    clip = clip_of(video(2))
    for model in ("mutr", "soc"):
        official_, last = (
            CLASSES[model](**settings(model, layer=layer)).predict(clip)["0"].masks.logits
            for layer in ("official", "last")
        )
        assert not np.allclose(official_, last, atol=0.1)


def test_bfloat16_stays_close(settings):
    clip = clip_of(video(2))
    exact, rough = (
        ReferFormerAdapter(**settings("referformer", precision=p)).predict(clip)["0"] for p in ("fp32", "bf16")
    )
    a, b = (np.float32(s.masks.logits).ravel() for s in (exact, rough))
    assert not np.array_equal(a, b) and np.corrcoef(a, b)[0, 1] > 0.98


# Windows, queries, thresholds: a network that answers what a test wants ---------------------------------------------


class Fake:
    """Query q has score (frame + q) / 1000 on even windows, and the reverse on odd ones; logits say who answers."""

    def __init__(self):
        self.windows, self.groups = [], []

    def encode(self, frames, frames_per_step):
        self.windows.append(len(frames))
        return frames

    def answer(self, features, words, frames_per_step, masks_for="selected", query=None):
        e, t, h, w = len(words), len(features), features.shape[2] // 4, features.shape[3] // 4
        self.groups.append(e)
        scores = torch.tensor([[0.9, 0.2, 0.1]] if t == 4 else [[0.1, 0.2, 0.6]]).expand(e, -1)
        chosen = scores.argmax(1) if query is None else query
        logits = None if masks_for == "none" else chosen.float().view(e, 1, 1, 1).expand(-1, t, h, w)
        return Answer(scores, chosen, torch.zeros(e, t, 4), torch.full((e, t), 0.5), logits)


@pytest.fixture
def fake(settings, monkeypatch):
    network = Fake()
    network.language_model = text.roberta(vocabulary=400, layers=1)
    monkeypatch.setattr(Segmenter, "network", network)
    return network


@pytest.mark.parametrize(
    ("model", "length", "window", "lengths"),
    [
        ("referformer", 64, "auto", [64]),
        ("referformer", 65, "auto", [36, 29]),
        ("soc", 100, "auto", [36, 36, 28]),
        ("mutr", 65, "auto", [64, 1]),
        ("mutr", 100, "whole", [100]),
        ("soc", 37, 36, [36, 1]),
    ],
)
def test_windows_are_the_official_ones(model, length, window, lengths, settings, fake):
    clip = clip_of(video(length, (16, 24)))
    found = CLASSES[model](**settings(model, window=window)).predict(clip)
    assert fake.windows == lengths
    assert len(check_prediction(found, clip, model)["0"]) == length and len(found["0"].notes["query"]) == len(lengths)


def test_uninext_takes_frame_by_frame(settings):
    adapter = UNINEXTAdapter(**settings("uninext"))
    assert [len(s) for s in adapter.segmenter.spans(3)] == [1, 1, 1]
    assert [len(s) for s in UNINEXTAdapter(**settings("uninext", frames_per_step=2)).segmenter.spans(3)] == [2, 1]


def test_a_query_for_each_window_or_one_for_the_video(settings, fake):
    clip = clip_of(video(7, (16, 24)))
    each = ReferFormerAdapter(**settings("referformer", window=4)).predict(clip)["0"]
    assert each.notes["query"] == [0, 2]  # 4 frames, 3 frames
    one = ReferFormerAdapter(**settings("referformer", window=4, query="video")).predict(clip)["0"]
    assert one.notes["query"] == [0, 0]  # (4 * 0.9 + 3 * 0.1) / 7 beats (4 * 0.1 + 3 * 0.6) / 7
    assert np.unique(np.float32(each.masks.logits)).tolist() == [0, 2] and not np.float32(one.masks.logits).any()


def test_expressions_in_groups(settings, fake):
    clip = clip_of(video(2, (16, 24)), [f"block {i}" for i in range(5)])
    ReferFormerAdapter(**settings("referformer", expressions_per_step=2)).predict(clip)
    assert fake.groups == [2, 2, 1]


def test_the_threshold_moves_the_masks(settings, fake):
    clip = clip_of(video(4, (16, 24)))
    clip = clip_of(video(3, (16, 24)))  # query 2 answers: logits 2, probability 0.88
    for threshold, there in ((0.5, True), (0.87, True), (0.89, False)):
        mask = ReferFormerAdapter(**settings("referformer", threshold=threshold)).predict(clip)["0"].mask(0)
        assert mask.all() == there == mask.any()


def test_a_long_clip_is_never_held_whole(settings, fake):
    """1000 frames: at most 36 of them, and the small logits of all, are in memory at once."""
    frames = video(64, (16, 24))
    clip = clip_of(frames[np.arange(1000) % 64], ["a dog"])
    found = ReferFormerAdapter(**settings("referformer")).predict(clip)
    assert max(fake.windows) == 36 and sum(fake.windows) == 1000
    assert found["0"].masks.logits.nbytes == 1000 * 16 * 24 * 2


# What can be wrong ------------------------------------------------------------------------------------------------


def test_faults_of_the_input_are_told_before_anything_runs(settings, tmp_path, capsys):
    given = settings("referformer")
    good = ReferFormerAdapter(**given)
    assert good.check([clip_of(video(2))]) == []
    (problem,) = good.check([clip_of(video(2), ["a dog", " "])])
    assert "clip 'v'" in problem and "has no words" in problem
    (problem,) = good.check([clip_of(video(2), ["a" + " dog" * 600])])
    assert "602 tokens" not in problem and "603 tokens, expected at most 512" in problem
    assert good.check([clip_of(video(2), ["a" + " dog" * 499])]) == []  # 500 words that fit
    (problem,) = ReferFormerAdapter(**{**given, "weights": "none.pth"}).check([clip_of(video(2))])
    assert problem.startswith("none.pth: no such file, expected a checkpoint of referformer")
    (problem,) = ReferFormerAdapter(**{**given, "tokenizer": str(tmp_path)}).check([clip_of(video(2))])
    assert "no tokenizer there" in problem
    (problem,) = MUTRAdapter(**{**given}).check([clip_of(video(2))])
    assert "holds weights of referformer, expected mutr; use `adapter: referformer`" in problem
    (problem,) = ReferFormerAdapter(**{**given, "backbone": "video_swin_b_p4w7"}).check([clip_of(video(2))])
    assert "with backbone resnet50, expected video_swin_b_p4w7" in problem
    other = tokenizer_of("referformer", tmp_path / "other")
    words = json.loads((other / "vocab.json").read_text())
    (other / "vocab.json").write_text(json.dumps(words | {"Ġzebra": len(words)}))
    (problem,) = ReferFormerAdapter(**{**given, "tokenizer": str(other)}).check([clip_of(video(2))])
    assert "a tokenizer of" in problem and "take that of roberta-base" in problem


def test_a_run_names_frames_of_another_size(settings, tmp_path, capsys):
    frames = video(3)
    data = write(tmp_path / "data", frames)
    Image.fromarray(frames[0][:40]).save(data / "v" / "00001.png")
    file = tmp_path / "own.yaml"
    source = {"adapter": "soc", **settings("soc")}
    file.write_text(
        json.dumps(
            {
                "data": {"dataset": "folder", "root": str(data), "expressions": ["a dog"]},
                "sources": {"m": source},
                "output": "m",
            }
        )
    )
    assert run_ensemble.main([f"recipe={file}", f"out={tmp_path / 'out'}"]) == 2
    assert "00001.png: 40x70 (HxW), expected 48x70" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "wrong", "words"),
    [
        ("soc", {"weights": None}, "`weights` must be given"),
        ("soc", {"window": 0}, "`window` is 0, expected auto, whole or a whole number of at least 1"),
        ("soc", {"layer": "first"}, "`layer` is 'first', expected one of auto, official, last"),
        ("referformer", {"layer": "last"}, "unknown key `layer`"),
        ("referformer", {"query": "clip"}, "expected one of window, video"),
        ("referformer", {"frames_per_step": 0}, "`frames_per_step` is 0"),
        ("referformer", {"short_side": None}, "`short_side` is None"),
        ("uninext", {"window": 36}, "unknown key `window`"),
        ("uninext", {"upsample": "cubic"}, "expected one of auto, x4_nearest, x4_bilinear"),
        ("mutr", {"threshold": 1.0}, "`threshold` is 1.0, expected a number above 0 and below 1"),
    ],
)
def test_settings_that_make_no_sense_are_named(model, wrong, words):
    with pytest.raises(InputError) as error:
        CLASSES[model](**{"weights": "w.pth", **wrong})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "words"), [({"precision": "int8"}, "fp32, bf16, fp16"), ({"device": "tpu"}, "auto, cpu, cuda")]
)
def test_device_and_precision_are_told_at_once(wrong, words, settings):
    with pytest.raises(InputError, match=words):
        SOCAdapter(**settings("soc", **wrong))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize(
    ("wrong", "words"), [({"precision": "fp16"}, "needs CUDA"), ({"device": "cuda"}, "no CUDA device here")]
)
def test_what_this_machine_cannot_do_is_told_with_the_weights(wrong, words, settings):
    adapter = SOCAdapter(**settings("soc", **wrong))
    (problem,) = adapter.check([clip_of(video(1))])
    assert words in problem
    with pytest.raises(InputError, match=words):  # and where a run asks how many workers there are
        adapter.uses_gpu  # noqa: B018


@pytest.mark.parametrize(("mark", "layer"), [({}, "official"), ({"layer": "last"}, "last")])
def test_weights_answer_with_the_layer_they_were_trained_to_answer_with(mark, layer, settings, tmp_path):
    weights = read_weights(settings("soc")["weights"])
    torch.save({"model": weights, **mark}, tmp_path / "trained.pth")
    found = open_checkpoint(tmp_path / "trained.pth", "soc")
    assert found.network("auto").layer == layer and found.network("official").layer == "official"


def test_an_adapter_travels_as_its_settings(settings):
    adapter = ReferFormerAdapter(**settings("referformer"))
    clip = clip_of(video(2))
    first = adapter.predict(clip)["0"]
    assert len(pickle.dumps(adapter)) < 2000
    again = pickle.loads(pickle.dumps(adapter))
    assert again.fingerprint(clip) == adapter.fingerprint(clip)
    assert np.array_equal(again.predict(clip)["0"].masks.logits, first.masks.logits)


def test_a_full_device_says_what_to_lower(settings, fake):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.")

    fake.encode = full
    with pytest.raises(InputError, match="lower frames_per_step, expressions_per_step or window"):
        SOCAdapter(**settings("soc")).predict(clip_of(video(2)))


def test_masks_that_are_no_numbers_are_refused(settings, fake, monkeypatch):
    answer = Fake.answer
    monkeypatch.setattr(
        Fake, "answer", lambda *a, **k: dataclasses.replace(found := answer(*a, **k), logits=found.logits * torch.nan)
    )
    with pytest.raises(InputError, match="masks are NaN at precision fp32"):
        SOCAdapter(**settings("soc")).predict(clip_of(video(2)))


def test_files_start_without_torch():
    """A recipe that reads masks from files waits for no model's libraries."""
    code = (
        "import sys\n"
        "from rvos_ensemble.ensemble.recipe import components, recipe\n"
        "from rvos_ensemble.adapters import mutr, referformer, soc, uninext\n"
        "flow = [f'propagators.{name}.propagator=flow' for name in ('aot', 'deaot')]\n"
        "recipe.load(['recipe=stage2', 'predictions=masks', *flow])\n"
        "components.list_components('adapter')\n"
        "print({'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_models_are_listed_by_their_first_line():
    listed = components.list_components("adapter")
    assert listed["uninext"].startswith("UNINEXT, R50, ConvNeXt-L, ViT-H: needs `weights`")
    assert {*CLASSES, "files"} <= listed.keys()


# The whole, with all four -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
def test_compiled_it_gives_the_same(settings):
    clip = clip_of(video(2))
    plain, compiled = (SOCAdapter(**settings("soc", compile=c)).predict(clip)["0"].masks.logits for c in (False, True))
    assert np.allclose(np.float32(plain), np.float32(compiled), rtol=5e-3, atol=5e-3)


@pytest.mark.slow
def test_stage2_runs_with_all_four_models(settings, tmp_path):
    frames = video(4)
    data, out = write(tmp_path / "data", frames), tmp_path / "out"
    overrides = [f"sources.{m}.{k}={v}" for m in CLASSES for k, v in {"adapter": m, **settings(m)}.items()]
    table = tmp_path / "data.yaml"
    table.write_text(json.dumps({"dataset": "folder", "root": str(data), "expressions": list(SENTENCES)}))
    arguments = ["recipe=stage2", f"data={table}", f"out={out}", "report=false", *overrides]
    arguments += [f"propagators.{p}.propagator=flow" for p in ("aot", "deaot")]
    assert run_ensemble.main(arguments) == 0
    notes = json.loads((out / "manifest.json").read_text())["clips"]["v"]["notes"]
    assert {m: notes[m]["0"]["model"].split()[0] for m in CLASSES} == {m: m for m in CLASSES}
    assert len(list((out / "Annotations").rglob("*.png"))) == 8


@pytest.mark.slow
def test_a_thousand_frames_within_a_gigabyte_and_a_half(settings, tmp_path):
    """ReferFormer R50 at 64 x 93, one sentence; a process of its own, so that the peak is this clip's."""
    given = settings("referformer")
    code = (
        "import resource, torch; torch.set_num_threads(1)\n"
        "import sys; sys.path[:0] = ['tests', 'tests/adapters', 'tests/propagators']\n"
        "from test_rvos_adapters import *\n"
        "frames = video(64)\n"
        "clip = clip_of(frames[np.arange(1000) % 64], ['a dog'])\n"
        f"found = ReferFormerAdapter(**{given!r}).predict(clip)\n"
        "print(len(found['0']), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    length, peak = map(int, done.stdout.split())
    assert length == 1000 and peak < 1500
