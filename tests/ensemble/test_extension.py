"""Every extension that CONTRIBUTING shows, word for word, run from a folder that is not the package."""

import json
import pickle
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny import H, T, W

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.own_code import failure, line_of, origin
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.ensemble.recipe.components import KINDS, list_components, make_component

ROOT = Path(__file__).resolve().parents[2]
INFER = """
import argparse, json
from pathlib import Path
from PIL import Image

parser = argparse.ArgumentParser()
for name in ("frames", "expressions", "out"):
    parser.add_argument(f"--{name}", type=Path)
a = parser.parse_args()
for video, content in json.loads(a.expressions.read_text())["videos"].items():
    for id in content["expressions"]:
        for picture in sorted(a.frames.iterdir()):
            file = a.out / video / id / f"{picture.stem}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.open(picture).convert("L").point(lambda v: 255 * (v > 128)).save(file)
"""


def blocks() -> dict[str, str]:
    """{file: content} of the code blocks of CONTRIBUTING whose first line names a file."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {match[1]: block for block in found if (match := re.match(r"# (\S+\.(?:py|yaml))\n", block))}


BLOCKS = blocks()


class House:
    """A folder of the user's with the files of CONTRIBUTING, and a run of them from another folder.

    Attributes:
        mine: the folder with the files.
        out: folder of the results.
    """

    def __init__(self, tiny, folder, monkeypatch):
        self.tiny, self.mine, self.out = tiny, folder / "mine", folder / "out"
        self.mine.mkdir()
        for name, content in BLOCKS.items():
            (self.mine / name).write_text(content)
        (folder / "elsewhere").mkdir()
        monkeypatch.chdir(folder / "elsewhere")

    def run(self, recipe, *arguments) -> int:
        """Runs a recipe on the tiny benchmark, with masks on disk in place of the models of `stage1`."""
        own = re.findall(r"^  (\w+):", (self.mine / recipe).read_text(), re.MULTILINE)
        masks = [
            f"sources.{name}={{adapter: files, path: {self.tiny.root}/predictions/{name}}}"
            for name in ("soc", "mutr", "referformer")
            if name not in own
        ]
        data = ["data=ref_youtube_vos", f"data.root={self.tiny.root}", "data.videos=[a]"]
        common = [f"out={self.out}", "report=false", "engine.workers=1"]
        return run_ensemble.main([f"recipe={self.mine / recipe}", *data, *common, *masks, *arguments])

    def masks(self, name="a/0") -> np.ndarray:
        """The masks of a clip and expression in the results, bool [T, H, W]."""
        files = sorted((self.out / "Annotations" / name).glob("*.png"))
        return np.stack([cv2.imread(str(f), cv2.IMREAD_GRAYSCALE) > 0 for f in files])

    def pictures(self, clip="a") -> np.ndarray:
        """The frames of a clip, uint8 [T, H, W, 3] RGB."""
        files = sorted((self.tiny.root / "valid" / "JPEGImages" / clip).glob("*.jpg"))
        return np.stack([cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in files])

    def notes(self) -> dict:
        return json.loads((self.out / "manifest.json").read_text())["clips"]["a"]["notes"]


@pytest.fixture
def house(tiny, tmp_path, monkeypatch):
    return House(tiny, tmp_path, monkeypatch)


FLOW = "propagators.aot.propagator=flow"


def test_an_adapter_in_plain_python(house, capsys):
    assert house.run("my_recipe.yaml", FLOW) == 0
    assert "\nbright " in capsys.readouterr().out
    assert house.notes()["smr"]["0"]["votes"].endswith(("of 4", "of 8"))
    assert house.run("my_recipe.yaml", FLOW, "output=bright", "sources.bright.threshold=100") == 0
    assert (house.masks() == (house.pictures().mean(axis=3) > 100)).all()


def test_an_adapter_around_a_network(house):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 1, kernel_size=8, stride=8)
    torch.save(network.state_dict(), house.mine / "weights.pth")
    assert house.run("my_network.yaml", FLOW, "output=soc", "steps={soc_aot: null, smr: null, smr_aot: null}") == 0
    with torch.no_grad():
        logits = network(torch.from_numpy(house.pictures()).permute(0, 3, 1, 2) / 255)
        large = torch.nn.functional.interpolate(logits, (H, W), mode="bilinear", align_corners=False)[:, 0]
    assert ((large > 0).numpy() == house.masks()).mean() > 0.999, "logits are kept as float16"


def test_a_network_is_loaded_once_and_travels_as_settings(house):
    torch.save(torch.nn.Conv2d(3, 1, kernel_size=8, stride=8).state_dict(), house.mine / "weights.pth")
    weights = str(house.mine / "weights.pth")
    settings = {"adapter": str(house.mine / "my_network.py"), "weights": weights, "frames_per_step": 2}
    adapter, again = (make_component("adapter", settings, "source x") for _ in range(2))
    clip = memory_clip()
    first, second = adapter.predict(clip), adapter.predict(clip)
    check_prediction(first, clip, "x")
    assert vars(adapter)["network"] is adapter.network and not adapter.network.training
    assert "network" not in adapter.__getstate__() and (first["0"].masks[4] == second["0"].masks[4]).all()
    print_before = adapter.fingerprint(clip)
    torch.save(torch.nn.Conv2d(3, 1, kernel_size=8, stride=8).state_dict(), house.mine / "weights.pth")
    assert again.fingerprint(clip) != print_before
    assert adapter.check([clip]) == []
    (house.mine / "weights.pth").unlink()
    assert adapter.check([clip]) == [f"my_network: {weights}: no such file"]
    with pytest.raises(InputError, match="`device` is "):
        make_component("adapter", {**settings, "device": "cuda:99" if torch.cuda.is_available() else "gpu"}, "x")


def memory_clip():
    class Grey:
        size = (H, W)

        def read(self, t):
            return np.full((H, W, 3), 40 * t, np.uint8)

        def fingerprint(self):
            return "grey"

    expressions = (Expression("v", "0", "one"), Expression("v", "1", "two"))
    return Clip("v", tuple(map(str, range(T))), expressions, Grey())


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("masks[0], None", "`logits` returned logits of shape (5, 6, 8), expected [N, T, h, w] with N=2, T=5"),
        ("[1]", "`logits` returned a list, expected"),
        ("masks, masks[0, 0]", "`logits` returned scores (6, 8), expected [N, T] with N=2, T=5"),
        ("masks * float('nan')", "`logits` returned NaN"),
    ],
)
def test_wrong_logits_are_named_with_their_line(returned, words, tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nimport rvos_ensemble as rv\n\n\nclass Net(rv.TorchAdapter):\n"
        "    def load(self):\n        return torch.nn.Identity()\n\n"
        "    def logits(self, network, frames, texts):\n"
        f"        masks = torch.zeros(len(texts), len(frames), 6, 8)\n        return {returned}\n"
    )
    with pytest.raises(InputError) as caught:
        make_component("adapter", {"adapter": str(file)}, "x").predict(memory_clip())
    assert f"{file}, line 9: " in str(caught.value) and words in str(caught.value)


def test_an_adapter_that_runs_another_repository(house, monkeypatch, tmp_path):
    (house.mine / "their_repository").mkdir()
    (house.mine / "their_repository" / "infer.py").write_text(INFER)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    assert house.run("theirs.yaml", FLOW, "output=soc", "steps={soc_aot: null, smr: null, smr_aot: null}") == 0
    grey = np.stack([np.asarray(image(p)) for p in house.pictures()])
    assert (house.masks() == (grey > 128)).all()


def image(picture):
    from PIL import Image

    return Image.fromarray(picture).convert("L")


def test_a_propagator(house):
    assert house.run("still.yaml") == 0
    notes = house.notes()["smr_aot"]
    for expression, note in notes.items():
        masks = house.masks(f"a/{expression}")
        assert note["propagator"] == "still" and (masks == masks[0]).all() and masks.any()


def test_a_step(house):
    assert house.run("largest.yaml", FLOW) == 0
    masks = house.masks()
    inputs = {
        name: np.stack([cv2.imread(str(p), 0) > 0 for p in sorted((folder / "Annotations/a/0").glob("*.png"))])
        for name in ("soc", "mutr", "referformer")
        for folder in [house.tiny.root / "predictions" / name]
    }
    assert (masks == max(inputs.values(), key=lambda m: m.sum())).all()


def test_a_data_set(house):
    for name in ("one", "two"):
        folder = house.mine / "videos" / name
        folder.mkdir(parents=True)
        (folder / "text.txt").write_text(f"the {name}")
        for t in range(3):
            cv2.imwrite(str(folder / f"{t:02d}.jpg"), np.full((24, 32, 3), 60 * t, np.uint8))
    bright = f"sources.soc={{adapter: {house.mine}/bright.py, threshold: 100}}"
    arguments = ["output=soc", "steps.propagated=null", bright, f"out={house.out}", "engine.workers=1"]
    assert run_ensemble.main([f"recipe={house.mine / 'my_videos.yaml'}", *arguments]) == 0
    assert house.masks("two/0").all(axis=(1, 2)).tolist() == [False, False, True]


def test_a_metric_protocol(house, capsys):
    gt, pred = (house.tiny.root / "predictions" / name / "Annotations" for name in ("soc", "mutr"))
    command = ["evaluate", f"gt={gt}", f"pred={pred}", f"protocol={house.mine / 'dice.py'}", f"out={house.out}"]
    assert run_ensemble.main(command) == 0
    assert "Dice" in capsys.readouterr().out
    scores = []
    for expression in sorted({p.parent for p in gt.rglob("*.png")}):
        pairs = [(cv2.imread(str(p), 0) > 0, cv2.imread(str(pred / p.relative_to(gt)), 0) > 0)
                 for p in expression.glob("*.png")]  # fmt: skip
        scores.append(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))
    written = json.loads((house.out / "metrics.json").read_text())
    assert written["protocol"] == "dice" and written["summary"]["Dice"] == pytest.approx(np.mean(scores), abs=1e-12)


# ------------------------------------------------------------------------------------ results that cannot be used
HEAD = "import numpy as np\nimport rvos_ensemble as rv\n\n\nclass Own(rv.Adapter):\n    def predict(self, clip):\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "return np.zeros((5, 4, 6), bool)",
            "predicted an array [5, 4, 6] of dtype bool, expected {expression id: Ma",
        ),
        (
            "return {e.id: np.zeros((5, 4, 6), bool) for e in clip.expressions}",
            "expression '0': an array [5, 4, 6] of dtype bool, expected a MaskSequence; `MaskSequence.binary(masks)`",
        ),
        (
            "return {e.id: np.zeros((5, 4, 6), np.float32) for e in clip.expressions}",
            "`MaskSequence.prob(quantise(masks))` makes one",
        ),
        ("return None", "predicted a NoneType"),
        ("return {e.id: rv.MaskSequence(np.zeros(5, bool)) for e in clip.expressions}", "its masks are an array [5]"),
        ("return {e.id: rv.MaskSequence([1]) for e in clip.expressions}", "its masks are a list, expected T masks"),
        (
            "return {e.id: rv.MaskSequence.binary(np.zeros((5, 9, 9), bool)) for e in clip.expressions}",
            f"masks of size 9x9 (HxW), expected the clip's {H}x{W} (HxW)",
        ),
        (
            f"return {{e.id: rv.MaskSequence(np.zeros((5, {H}, {W}), bool), scores=[1]) for e in clip.expressions}}",
            "scores of shape (1,), expected one score per frame: (5,)",
        ),
    ],
)
def test_what_an_adapter_returns_wrong_is_named_with_its_line(body, words, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(f"{HEAD}        {body}\n")
    adapter = make_component("adapter", {"adapter": str(file)}, "source own")
    with pytest.raises(InputError) as caught:
        check_prediction(adapter.predict(memory_clip()), memory_clip(), "own", origin(adapter, "predict"))
    problem = caught.value.problems[0]
    assert problem.startswith(f"own ({file}, line 6): clip 'v'") and words in problem and "\n" not in problem


def test_a_good_prediction_passes():
    clip = memory_clip()
    prediction = {e.id: MaskSequence.binary(np.zeros((T, H, W), bool)) for e in clip.expressions}
    assert check_prediction(prediction, clip, "own") is prediction


def test_the_line_of_an_error_is_that_of_the_users_file(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(f"{HEAD}        return np.stack([])\n")
    adapter = make_component("adapter", {"adapter": str(file)}, "source own")
    with pytest.raises(ValueError) as caught:
        adapter.predict(memory_clip())
    assert line_of(caught.value, file) == f"{file}, line 7"
    assert failure(caught.value, file).startswith(f"{file}, line 7: ValueError: need at least one array")
    assert line_of(caught.value, tmp_path / "other.py") is None
    assert origin(make_component("adapter", {"adapter": "files", "path": "x"}, "x"), "predict") == ""


def test_a_run_names_the_source_the_line_and_the_traceback(house, capsys):
    (house.mine / "bright.py").write_text(BLOCKS["bright.py"].replace("range(len(clip))", "range(len(clip) + 1)"))
    assert house.run("my_recipe.yaml", FLOW) == 1
    said = capsys.readouterr().err
    line = (
        BLOCKS["bright.py"]
        .splitlines()
        .index("        masks = [clip.read(t).mean(axis=2) > self.settings.threshold for t in range(len(clip))]")
    )
    assert "bright" in said and f"bright.py, line {line + 1}" in said
    assert f"{house.out}/errors/a.txt" in said and "IndexError" in (house.out / "errors" / "a.txt").read_text()


# ------------------------------------------------------------------------------------------ installed packages
def test_an_installed_package_offers_components(tmp_path, monkeypatch, capsys):
    """Its metadata lie in a folder on the path, as pip puts them there."""
    package = tmp_path / "site"
    info = package / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "my_package").mkdir()
    for name in ("bright", "still", "largest", "my_videos", "dice"):
        (package / "my_package" / f"{name}.py").write_text(BLOCKS[f"{name}.py"])
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rvos_ensemble.adapters]\nbright = my_package.bright:Bright\nbroken = my_package.none:Bright\n"
        "wrong = my_package.still:Still\n"
        "[rvos_ensemble.propagators]\nstill = my_package.still:Still\n"
        "[rvos_ensemble.steps]\nlargest = my_package.largest:Largest\n"
        "[rvos_ensemble.datasets]\nmy_videos = my_package.my_videos:MyVideos\n"
        "[rvos_ensemble.protocols]\ndice = my_package.dice:Dice\n"
    )
    monkeypatch.syspath_prepend(str(package))
    assert make_component("adapter", {"adapter": "bright", "threshold": 7}, "x").settings.threshold == 7
    info.rename(tmp_path / info.name)
    assert "bright" not in list_components("adapter"), "uninstalled while this process runs"
    (tmp_path / info.name).rename(info)
    assert make_component("propagator", {"propagator": "still"}, "x").name == "still"
    assert find("largest", *KINDS["op"])("s", inputs=["a"]).op == "largest"
    assert list_components("dataset")["my_videos"].startswith("My videos: ROOT/VIDEO/*.jpg")
    pickle.loads(pickle.dumps(make_component("adapter", {"adapter": "bright"}, "x")))
    for name, words in {
        "broken": "entry point broken = my_package.none:Bright: cannot be loaded: ",
        "wrong": "entry point wrong = my_package.still:Still: <class 'my_package.still.Still'>, expected a class",
    }.items():
        with pytest.raises(InputError) as caught:
            find(name, *KINDS["adapter"])
        assert words in str(caught.value) and "\n" not in str(caught.value)
    assert run_ensemble.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^  bright +Everything brighter", listed, re.MULTILINE)
    assert re.search(r"^  broken +cannot be used: entry point broken", listed, re.MULTILINE)
    assert re.search(r"^  my_videos +My videos: ROOT", listed, re.MULTILINE)
    assert re.search(r"^  dice +Dice coefficient", listed, re.MULTILINE)
    assert re.search(r"^  still +Keeps every mask", listed, re.MULTILINE)
    assert re.search(r"^  largest +For each expression", listed, re.MULTILINE)


def test_every_block_is_a_test():
    """What CONTRIBUTING shows is what is run here; each part is about ten lines."""
    tested = {"bright.py", "my_recipe.yaml", "my_network.py", "my_network.yaml", "theirs.yaml", "still.py"}
    tested |= {"still.yaml", "largest.py", "largest.yaml", "my_videos.py", "my_videos.yaml", "dice.py"}
    assert set(BLOCKS) == tested
    for name, content in BLOCKS.items():
        code = [line for line in content.splitlines()[1:] if line.strip() and not line.startswith(("import", "from"))]
        assert len(code) <= 12, name
