"""A worker that feeds mutated files of every format to their readers: `python fuzz_formats.py FOLDER FIRST LAST`.

It prints a line of JSON before and after each case, so that its parent knows the case in which it crashed or hung.
"""

import contextlib
import io
import json
import random
import resource
import shutil
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from helpers.fuzz_mutations import (
    BYTES,
    change_json,
    change_npy_header,
    change_npz,
    change_pth,
    change_safetensors,
    change_zip,
    mutate,
    repack_zip,
)
from PIL import Image
from pycocotools import mask as coco

from rvos_ensemble.adapters import Clip, Expression, InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.prediction import sequence_problems
from rvos_ensemble.adapters.datasets.mevis import Mevis
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.adapters.files import scores as scores_file
from rvos_ensemble.adapters.proposals import Proposals
from rvos_ensemble.adapters.seeds import Seeds
from rvos_ensemble.ensemble.fusion import grouping
from rvos_ensemble.ensemble.metrics.protocols.a2d_sentences import A2DSentencesProtocol
from rvos_ensemble.ensemble.report import submission
from rvos_ensemble.propagators.core import key_frames

T, H, W = 3, 11, 17
FRAMES = ("00000", "00005", "00015")
IDS = ("0", "1")
JSON = [*BYTES[:5], *[change_json] * 12]
ZIP = [*BYTES, *[change_zip] * 4, *[repack_zip] * 4]
LIMIT = 1 << 30  # bytes by which one case may increase the memory of the process


class Blank:
    """Frames that have only a size."""

    size = (H, W)

    def fingerprint(self):
        return ""


CLIP = Clip("bear", FRAMES, tuple(Expression("bear", i, f"thing {i}", (str(int(i) + 1),)) for i in IDS), Blank())


def truth(i, t) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[2 + int(i) : 8, 3 + t : 9 + 2 * t] = True
    return mask


def rle(mask: np.ndarray) -> dict:
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in encoded["size"]], "counts": encoded["counts"].decode()}


def grey(values: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", **options)
    return out.getvalue()


def dump(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def stack(i) -> np.ndarray:
    return np.stack([truth(i, t) for t in range(T)])


def scores(i) -> list[float]:
    return [0.5 + 0.1 * t + int(i) for t in range(T)]


def read_files(folder: Path, **settings):
    """Reads as a run does: everything that `check` and `inspect` accept must be readable."""
    files = Files(path=str(folder / "m"), **settings)
    files.label()
    files.traits(CLIP)
    problems = [*files.check([CLIP]), *files.inspect(CLIP)]
    try:
        files.fingerprint(CLIP)
        prediction = files.predict(CLIP)
        values = {i: [s.masks[t].tolist() for t in range(T)] for i, s in prediction.items()}
    except InputError as error:
        if not problems:
            raise AssertionError(f"check and inspect accept what fails: {error}") from error
    if problems:
        raise InputError(problems)
    for i, s in prediction.items():
        assert s.size == (H, W) and len(s) == T and not sequence_problems(s, CLIP, i, "m")
    notes = {i: dict(s.notes) for i, s in prediction.items()}
    marks = {i: None if s.scores is None else s.scores.tolist() for i, s in prediction.items()}
    return values, notes, marks, files.label()


def read_large(folder: Path):
    """As `read_files`, but every JSON file counts as a large one, whose videos are parsed one by one."""
    before, scores_file.LARGE = scores_file.LARGE, 0
    scores_file.load_json.cache_clear()
    try:
        return read_files(folder)
    finally:
        scores_file.LARGE = before
        scores_file.load_json.cache_clear()


def read_proposals(folder: Path, name: str, **settings):
    source = Proposals(path=str(folder / name), **settings)
    if problems := [*source.check([CLIP]), *source.inspect(CLIP)]:
        raise InputError(problems)
    return {i: ([s.masks[t].tolist() for t in range(T)], s.scores.tolist()) for i, s in source.predict(CLIP).items()}


def read_seeds(folder: Path, name: str, **settings):
    source = Seeds(path=str(folder / name), **settings)
    if problems := [*source.check([CLIP]), *source.inspect(CLIP)]:
        raise InputError(problems)
    source.fingerprint(CLIP)
    found = source.predict(CLIP)
    assert not [p for i, s in found.items() for p in sequence_problems(s, CLIP, i, "m")]
    return {i: ([s.mask(t).tolist() for t in range(T)], s.scores.tolist(), dict(s.notes)) for i, s in found.items()}


def read_clips(dataset):
    clips = []
    for clip in dataset.clips():
        if problems := [*clip.problems(), *clip.inspect()]:
            raise InputError(problems)
        truths = {e.id: clip.truth.read(e.id) if clip.truth else None for e in clip.expressions}
        masks = {i: None if s is None else [s.mask(t).tolist() for t in range(len(s))] for i, s in truths.items()}
        clips.append((clip.name, clip.frames, [(e.id, e.text, e.objects) for e in clip.expressions], masks))
    return clips


def read_evaluation(folder: Path):
    result = A2DSentencesProtocol().evaluate(folder / "gt.json", folder / "pred.json")
    return json.dumps(result.summary), result.rows.to_csv() if hasattr(result, "rows") else ""


def read_submission(folder: Path):
    if problems := submission.check(folder / "s.zip", [CLIP], ""):
        raise InputError(problems)
    return "fits"


def read_groups(folder: Path):
    return grouping.group_expressions(CLIP, (), "file", str(folder / "groups.json"))


def read_key_frames(folder: Path):
    from rvos_ensemble.adapters.core.masks import MaskSequence

    rule = {"rule": "given", "file": str(folder / "keys.json")}
    return [key_frames.choose(rule, MaskSequence.binary(stack(i)), clip="bear", expression=i).frames for i in IDS]


def read_weights(folder: Path, name: str):
    """What `weights verify FILE` prints."""
    from rvos_ensemble.adapters.inference.checkpoints.weights import read_note
    from rvos_ensemble.ensemble.commands.weights import open_checkpoint

    path = folder / name
    read_note(path, "layer")
    return open_checkpoint(str(path)).describe(str(path)).removeprefix(str(path))


def make_tree(folder: Path):
    for i in IDS:
        (folder / "m" / "bear" / i).mkdir(parents=True)
        for t, frame in enumerate(FRAMES):
            data = png.encode(truth(i, t)) if t else grey(truth(i, t).astype(np.uint8) * 255)
            (folder / "m" / "bear" / i / f"{frame}.png").write_bytes(data)


def make_zip(folder: Path, name="m.zip", method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(folder / name, "w", method) as archive:
        for i in IDS:
            for t, frame in enumerate(FRAMES):
                archive.writestr(zipfile.ZipInfo(f"bear/{i}/{frame}.png"), png.encode(truth(i, t)))


def make_ids(folder: Path, top="m"):
    (folder / top / "bear").mkdir(parents=True)
    for t, frame in enumerate(FRAMES):
        ids = truth("0", t).astype(np.uint8)
        ids[truth("1", t)] = 2
        (folder / top / "bear" / f"{frame}.png").write_bytes(png.encode_indices(ids))


def make_prob(folder: Path):
    values = np.arange(H * W, dtype=np.uint8).reshape(H, W)
    for i in IDS:
        (folder / "m" / "bear" / i).mkdir(parents=True)
        for t, frame in enumerate(FRAMES):
            (folder / "m" / "bear" / i / f"{frame}.png").write_bytes(grey(np.roll(values, t)))


def make_rle(folder: Path):
    masks = {i: [rle(truth(i, t)) for t in range(T)] for i in IDS}
    masks["0"][1] = None
    masks["1"][0] = {"size": [H, W], "counts": [30, 5, 6, 5, H * W - 46]}
    dump(folder / "m.json", {"bear": masks, "scores": {"bear": {i: scores(i) for i in IDS}}})


def make_large_rle(folder: Path):
    """A file that is read video by video, because `read_large` takes every file for a large one."""
    make_rle(folder)
    (folder / "m.json").write_text(json.dumps(json.loads((folder / "m.json").read_text()), indent=1))


def make_sa2va(folder: Path):
    def entry(i, masks, answer):
        told = {
            "index": int(i),
            "video_id": "bear",
            "exp_id": i,
            "text_prediction": answer,
            "exp": "Please segment it.",
        }
        return {**told, "frames": list(FRAMES), "prediction_masks": [rle(mask) for mask in masks]}

    nothing = entry("1", np.zeros((T, H, W), bool), "There is none.")
    dump(folder / "m.json", {"bear": {"0": entry("0", stack("0"), "Sure, [SEG]."), "1": nothing}})


def make_referdino(folder: Path):
    def queries(i):
        logits = np.where(stack(i), 3, -3).astype(np.float32)[:, None].repeat(2, axis=1)
        found = np.float32([[0.9, 0.1], [0.8, 0.2], [0.7, 0.1]])
        return {"scores": found, "boxes": np.zeros((T, 2, 4), np.float32), "masks": logits}

    (folder / "m").mkdir()
    meta = {"video_path": "data/bear", "size": np.array([H, W])}
    np.savez(folder / "m" / "bear.npz", **meta, **{i: queries(i) for i in IDS})


def make_npz(folder: Path):
    arrays = {f"bear/{i}/masks": stack(i) for i in IDS} | {f"bear/{i}/scores": np.array(scores(i)) for i in IDS}
    np.savez_compressed(folder / "m.npz", **arrays)


def make_npz_tree(folder: Path):
    (folder / "m" / "bear").mkdir(parents=True)
    for i in IDS:
        logits = np.where(stack(i), 3, -3).astype(np.float32)
        np.savez(folder / "m" / "bear" / f"{i}.npz", masks=logits, scores=np.array(scores(i)))


def make_pth(folder: Path):
    masks = {i: torch.from_numpy(np.where(stack(i), 3, -3).astype(np.float32)) for i in IDS}
    torch.save({"bear": {i: {"mask_logits": masks[i], "class_info": scores(i)} for i in IDS}}, folder / "m.pth")


def make_side(name: str, content):
    def make(folder: Path):
        make_tree(folder)
        dump(folder / name, content)

    return make


def make_videos(folder: Path, root: str):
    pictures = folder / root / "JPEGImages" / "bear"
    pictures.mkdir(parents=True)
    for frame in FRAMES:
        Image.fromarray(np.full((H, W, 3), 90, np.uint8)).save(pictures / f"{frame}.jpg")


def make_youtube(folder: Path):
    make_videos(folder, "valid")
    expressions = {i: {"exp": f"thing {i}", "obj_id": i} for i in IDS}
    entry = {"expressions": expressions, "frames": list(FRAMES)}
    dump(folder / "meta_expressions" / "valid" / "meta_expressions.json", {"videos": {"bear": entry}})


def make_mevis(folder: Path):
    make_videos(folder, "valid_u")
    expressions = {i: {"exp": f"thing {i}", "obj_id": [int(i)], "anno_id": [int(i), 9]} for i in IDS}
    dump(
        folder / "valid_u" / "meta_expressions.json",
        {"videos": {"bear": {"expressions": expressions, "frames": list(FRAMES)}}},
    )
    masks = {i: [rle(truth(i, t)) for t in range(T)] for i in IDS}
    dump(folder / "valid_u" / "mask_dict.json", masks | {"9": [None, rle(truth("0", 2)), None]})


def make_coco_proposals(folder: Path):
    rows = [{"image_id": t, "segmentation": rle(truth(i, t)), "score": 0.5 + 0.1 * t} for t in range(T) for i in IDS]
    dump(folder / "p.json", rows)
    dump(folder / "images.json", {"images": [{"id": t, "file_name": f"x/bear/{f}.jpg"} for t, f in enumerate(FRAMES)]})


def make_own_proposals(folder: Path):
    rows = {f: [{**rle(truth(i, t)), "score": 0.5} for i in IDS] for t, f in enumerate(FRAMES)}
    dump(folder / "p.json", {"bear": rows})


def make_seeds(folder: Path):
    seeds = [{"frame": FRAMES[t], "mask": rle(truth("0", t)), "instance": f"thing {t}"} for t in range(T)]
    dump(folder / "s.json", {"bear": {"0": seeds, "1": []}})


def make_agent(folder: Path):
    """The tree of SAM3-agent, and the answers of the language model."""
    item = {"object_name": "thing", "best_frame": 1, "actual_frame_filename": f"{FRAMES[1]}.jpg"}
    pred = {"orig_img_h": H, "orig_img_w": W, "pred_masks": [rle(truth("0", 1))["counts"]], "pred_scores": [0.5]}
    dump(folder / "agent" / "bear" / "0" / "thing_obj_1" / "pred.json", pred)
    for i, results in (("0", [item]), ("1", [])):
        answer = {"video_id": "bear", "expression_id": i, "results": results}
        dump(folder / "answers" / "bear" / f"{i}.json", answer)


def make_evaluation(folder: Path):
    images = [{"id": f"v_{t}", "height": H, "width": W} for t in range(T)]
    notes = [{"image_id": f"v_{t}", "segmentation": rle(truth("0", t)), "area": 30.0, "iscrowd": 0} for t in range(T)]
    notes[1]["segmentation"] = {"size": [H, W], "counts": [30, 5, 6, 5, H * W - 46]}
    dump(folder / "gt.json", {"images": images, "annotations": notes})
    rows = [
        {"image_id": f"v_{t}", "segmentation": rle(truth(i, t)), "score": 0.3 + int(i)} for t in range(T) for i in IDS
    ]
    dump(folder / "pred.json", rows)


def make_weights(name: str, shipped: str):
    def make(folder: Path):
        from rvos_ensemble.adapters.inference.checkpoints.weights import shipped as ours

        source = ours()[shipped]
        if name.endswith(".pth"):
            from safetensors.torch import load_file

            torch.save({"state_dict": load_file(source), "epoch": 3}, folder / name)
        else:
            shutil.copy(source, folder / name)

    return make


@dataclass(frozen=True)
class Format:
    """Files of one format.

    Attributes:
        make: writes a sample into a folder.
        read: reads them; its result is compared.
        files: those that are mutated.
        mutations: suitable mutations.
        legal: names of mutations after which another result can be correct; None for all, if nothing verifies values.
    """

    make: object
    read: object
    files: str
    mutations: list = field(default_factory=list)
    legal: tuple[str, ...] | None = ()


REPACKED = ("repack_zip",)
ARRAYS = ("repack_zip", "change_npz", "change_npy_header")
KEYS = {"bear": {i: {"index_info": {"class_index": int(i)}} for i in IDS}}
FORMATS = {
    "PNG folder": Format(make_tree, read_files, "m/bear/*/*.png", BYTES),
    "PNG zip": Format(make_zip, read_files, "m.zip", ZIP, REPACKED),
    "PNG of ids": Format(make_ids, read_files, "m/bear/*.png", BYTES),
    "PNG of probabilities": Format(make_prob, lambda f: read_files(f, kind="prob"), "m/bear/*/*.png", BYTES),
    "COCO RLE json": Format(make_rle, read_files, "m.json", JSON, None),
    "large RLE json": Format(make_large_rle, read_large, "m.json", JSON, None),
    "Sa2VA json": Format(make_sa2va, read_files, "m.json", JSON, None),
    "ReferDINO npz": Format(
        make_referdino, read_files, "m/bear.npz", [*ZIP, *[repack_zip] * 6, *[change_npy_header] * 3], ARRAYS
    ),
    "npz": Format(make_npz, read_files, "m.npz", [*ZIP, *[change_npz, change_npy_header] * 5], ARRAYS),
    "npz tree": Format(
        make_npz_tree,
        lambda f: read_files(f, kind="logits"),
        "m/bear/*.npz",
        [*ZIP, *[change_npz, change_npy_header] * 5],
        ARRAYS,
    ),
    "challenge pth": Format(
        make_pth,
        lambda f: read_files(f, kind="logits"),
        "m.pth",
        [*ZIP, *[change_pth] * 12],
        ("change_pth", "repack_zip"),
    ),
    "score file": Format(
        make_side("m.scores.json", {"bear": {i: scores(i) for i in IDS}}), read_files, "m.scores.json", JSON, None
    ),
    "key frames of a source": Format(
        make_side("keys.json", KEYS), lambda f: read_files(f, key_frames=str(f / "keys.json")), "keys.json", JSON, None
    ),
    "about file": Format(make_side("m.about.json", {"label": "simulated"}), read_files, "m.about.json", JSON, None),
    "meta_expressions": Format(
        make_youtube, lambda f: read_clips(RefYoutubeVOS(root=str(f))), "meta_expressions/valid/*.json", JSON, None
    ),
    "MeViS": Format(make_mevis, lambda f: read_clips(Mevis(root=str(f))), "valid_u/*.json", JSON, None),
    "proposals PNG": Format(lambda f: make_ids(f, "p"), lambda f: read_proposals(f, "p"), "p/bear/*.png", BYTES),
    "proposals COCO": Format(
        make_coco_proposals, lambda f: read_proposals(f, "p.json", images=str(f / "images.json")), "*.json", JSON, None
    ),
    "proposals json": Format(make_own_proposals, lambda f: read_proposals(f, "p.json"), "p.json", JSON, None),
    "seeds json": Format(make_seeds, lambda f: read_seeds(f, "s.json"), "s.json", JSON, None),
    "seeds of SAM3-agent": Format(
        make_agent, lambda f: read_seeds(f, "agent", answers=str(f / "answers")), "a*/bear/**/*.json", JSON, None
    ),
    "A2D json": Format(make_evaluation, read_evaluation, "*.json", JSON, None),
    "grouping file": Format(
        lambda f: dump(f / "groups.json", {"bear": [["0"], ["1"]]}), read_groups, "groups.json", JSON, None
    ),
    "key-frame file": Format(lambda f: dump(f / "keys.json", KEYS), read_key_frames, "keys.json", JSON, None),
    "submission zip": Format(
        lambda f: make_zip(f, "s.zip", zipfile.ZIP_STORED), read_submission, "s.zip", ZIP, REPACKED
    ),
    "weights pth": Format(
        make_weights("w.pth", "grounding_match_nano"),
        lambda f: read_weights(f, "w.pth"),
        "w.pth",
        [*BYTES, change_zip, *[change_pth] * 10],
        ("change_pth",),
    ),
    "weights safetensors": Format(
        make_weights("w.safetensors", "urvos_nano"),
        lambda f: read_weights(f, "w.safetensors"),
        "w.safetensors",
        [*BYTES, *[change_safetensors] * 9],
        None,
    ),
    "propagator safetensors": Format(
        make_weights("w.safetensors", "aot_nano"),
        lambda f: read_weights(f, "w.safetensors"),
        "w.safetensors",
        [*BYTES, *[change_safetensors] * 9],
        None,
    ),
    "model pth": Format(
        make_weights("w.pth", "soc_nano"),
        lambda f: read_weights(f, "w.pth"),
        "w.pth",
        [*BYTES, change_zip, *[change_pth] * 10],
        ("change_pth",),
    ),
}


class Runner:
    """Runs cases; a sample of each format is created once."""

    def __init__(self, folder: Path):
        self.folder, self.expected = folder, {}

    def sample(self, name: str) -> Path:
        at = self.folder / "samples" / name.replace(" ", "_")
        if name not in self.expected:
            shutil.rmtree(at, ignore_errors=True)
            at.mkdir(parents=True)
            FORMATS[name].make(at)
            self.expected[name] = FORMATS[name].read(at)
        return at

    def run(self, number: int) -> dict:
        """Runs one case, which its number determines completely."""
        names = list(FORMATS)
        name, rng = names[number % len(names)], random.Random(number)
        form, at = FORMATS[name], self.folder / "case" / str(number)
        shutil.copytree(self.sample(name), at)
        path = rng.choice(sorted(at.glob(form.files)))
        how = mutate(path, form.mutations, rng)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kind, message = self.classify(form, at, path, how, self.expected[name])
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        if grown > LIMIT:
            kind, message = "memory", f"{grown:,} bytes: {message}"
        shutil.rmtree(at)
        return {"case": number, "format": name, "how": how, "class": kind, "message": message[:600]}

    def classify(self, form: Format, at: Path, path: Path, how: str, expected) -> tuple[str, str]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = form.read(at)
        except InputError as error:
            text = str(error)
            text.encode()  # a lone surrogate in a message would make printing fail
            named = path.name in text or str(at) in text
            return ("clear error", text) if named else ("unnamed", text)
        except BaseException as error:
            return "exception", f"{type(error).__name__}: {error}"
        if result == expected:
            return "right", "as without the change"
        legal = form.legal is None or how in form.legal
        return ("right", "other values, which are legal") if legal else ("silent", "another result")


def main(folder: str, first: str, last: str) -> None:
    runner, out, names = Runner(Path(folder)), sys.stdout, list(FORMATS)
    for number in range(int(first), int(last)):
        name = names[number % len(names)]
        new = name not in runner.expected  # its sample has to be created, which has no time limit
        print(json.dumps({"start": number, "format": name, "first": new}), file=out, flush=True)
        print(json.dumps(runner.run(number)), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
