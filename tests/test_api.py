"""`import rvos_ensemble as rv`: arrays in, arrays out; numbers are those of the command; wrong input is a sentence."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import make_tiny
from PIL import Image

import run_ensemble
import rvos_ensemble as rv
from rvos_ensemble import ensemble
from rvos_ensemble.propagators.flow import Flow

ROOT = Path(__file__).resolve().parents[1]


def problems(function, *arguments, **named) -> list[str]:
    with pytest.raises(rv.InputError) as caught:
        function(*arguments, **named)
    return caught.value.problems


class TestImport:
    def test_the_import_loads_no_library(self):
        heavy = ("torch", "cv2", "numpy", "pandas", "omegaconf", "transformers")
        code = f"import rvos_ensemble, sys; dir(rvos_ensemble); print([m for m in {heavy} if m in sys.modules])"
        assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"

    def test_functions_on_arrays_load_no_torch(self):
        code = (
            "import rvos_ensemble as rv, numpy as np, sys; m = np.ones((4, 4), bool)\n"
            "rv.vote([m, m], 2), rv.j_and_f(m, m), rv.propagate(np.zeros((2, 40, 40, 3), np.uint8), m.repeat(10, 0)"
            ".repeat(10, 1), 0); print('torch' in sys.modules)"
        )
        assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "False"

    def test_every_public_name_exists_where_the_table_says(self):
        assert set(rv.__all__) == set(ensemble.MODULES) and set(rv.__all__) <= set(dir(rv))
        for name in rv.__all__:
            value = getattr(rv, name)
            assert value.__module__ == f"rvos_ensemble.{ensemble.MODULES[name]}" and value.__doc__, name

    def test_type_checkers_see_the_same_names(self):
        tree = ast.parse(Path(ensemble.__file__).read_text())
        [block] = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        seen = {a.asname: node.module.removeprefix("rvos_ensemble.") for node in block.body for a in node.names}
        assert seen == ensemble.MODULES

    @pytest.mark.parametrize("module", [rv, ensemble])
    def test_other_names_do_not_exist(self, module):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'vot'"):
            module.vot  # noqa: B018
        from rvos_ensemble import adapters  # a part is found although `__getattr__` does not know it

        assert adapters.__name__ == "rvos_ensemble.adapters"


class TestFusion:
    def test_floats_are_never_silently_wrong(self):
        floats = [np.float32([[0.2, 0.9]])] * 2
        for function, arguments in ((rv.vote, (floats, 2)), (rv.soft_average, (floats,))):
            with pytest.raises(ValueError, match="float32, expected"):
                function(*arguments)
        assert (rv.soft_average([rv.quantise(p) for p in floats]) == rv.quantise(floats[0])).all()

    def test_masks_of_0_and_255_are_masks(self):
        mask = np.uint8([[0, 255]])
        assert rv.vote([mask, mask], 2).tolist() == [[False, True]]

    @pytest.mark.parametrize("values", [[0, 1.01], [-0.01, 1], [0, 255], [0.5, np.nan]])
    def test_only_probabilities_become_uint8(self, values):
        with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\]"):
            rv.quantise(np.float32(values))
        assert rv.quantise(np.float64([-1e-4, 1 + 1e-4])).tolist() == [0, 255]  # what resizing may leave
        assert rv.quantise(np.zeros((0, 2))).shape == (0, 2)

    @pytest.mark.parametrize("number", [0.7, np.float64(0.7), np.float32(0.7), np.int64(7), np.uint8(7)])
    def test_thresholds_may_be_numpy_numbers(self, number):
        masks = [np.array([n < 7, n < 6]) for n in range(10)]
        assert rv.vote(masks, number).tolist() == [True, False]

    @pytest.mark.parametrize("threshold", ["2", None, True, [1]])
    def test_other_thresholds_are_refused(self, threshold):
        with pytest.raises(ValueError, match="expected a count of votes"):
            rv.vote([np.ones((2, 2), bool)] * 2, threshold)

    @pytest.mark.parametrize("wrong", [[[1, 0], [0, 1]], None, np.ones((2, 2), np.uint8), np.ones((2, 2))])
    def test_j_and_f_take_bool_arrays(self, wrong):
        truth = np.ones((2, 2), bool)
        for arguments in ((wrong, truth), (truth, wrong)):
            assert "expected" in problems(rv.j_and_f, *arguments)[0]


@pytest.fixture(scope="module")
def moving():
    """(frames, masks) of a square that moves over noise: uint8 [6, 48, 70, 3] and bool [6, 48, 70]."""
    random = np.random.default_rng(0)
    ground, square = random.integers(0, 120, (48, 70, 3)), random.integers(130, 255, (16, 16, 3))
    frames, masks = np.empty((6, 48, 70, 3), np.uint8), np.zeros((6, 48, 70), bool)
    for t in range(6):
        frames[t], x = ground, 10 + 4 * t
        frames[t, 12:28, x : x + 16], masks[t, 12:28, x : x + 16] = square, True
    return frames, masks


class TestPropagate:
    def test_a_mask_follows_its_object_both_ways(self, moving):
        frames, masks = moving
        result = rv.propagate(frames, masks[3], 3)
        assert result.masks.shape == result.probabilities.shape == masks.shape and result.scores.shape == (6,)
        assert (result.masks.dtype, result.probabilities.dtype, result.scores.dtype) == (bool, np.uint8, np.float32)
        assert (result.masks == (result.probabilities > 127)).all() and (result.masks[3] == masks[3]).all()
        j, _ = rv.j_and_f(result.masks, masks)
        still, _ = rv.j_and_f(np.broadcast_to(masks[3], masks.shape), masks)
        assert j.min() > 0.8 > still.mean()

    def test_the_result_is_that_of_a_step_of_a_recipe(self, moving):
        from rvos_ensemble.ensemble.api.frames import ArrayFrames
        from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate

        frames, masks = moving
        clip = rv.Clip("c", tuple("012345"), (), ArrayFrames(frames))
        [expected] = propagate(clip, [PropagationTask(rv.MaskSequence.binary(masks), (2,))], Flow())
        result = rv.propagate(frames, masks[2], 2)
        assert (result.probabilities == np.stack([expected.masks[t] for t in range(6)])).all()
        assert (result.scores == expected.scores).all()

    def test_arrays_lists_views_and_folders_are_the_same(self, moving, tmp_path):
        frames, masks = moving
        for t, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / f"{t + 5}.png")  # 5, ..., 10: in natural order
        (tmp_path / "notes.txt").write_text("no picture")
        backwards = np.ascontiguousarray(frames[..., ::-1])[..., ::-1]
        expected = rv.propagate(frames, masks[0], 0).probabilities
        for other in (list(frames), backwards, tmp_path, str(tmp_path)):
            assert (rv.propagate(other, masks[0].astype(int) * 255, np.int64(0)).probabilities == expected).all()

    def test_settings_and_instances(self, moving):
        frames, masks = moving
        small = rv.propagate(frames, masks[0], 0, max_side=64).probabilities
        assert (rv.propagate(frames, masks[0], 0, Flow(max_side=64)).probabilities == small).all()
        assert (rv.propagate(frames, masks[0], 0).probabilities != small).any()

    def test_a_propagator_of_the_users_own(self, moving, tmp_path):
        (tmp_path / "still.py").write_text(
            "import numpy as np, rvos_ensemble as rv\n\n\n"
            "class Still(rv.Propagator):\n    def sweep(self, size, sequences):\n        return Keep()\n\n\n"
            "class Keep:\n    def step(self, frame, given):\n"
            "        self.mask = given.get(0, getattr(self, 'mask', None))\n"
            "        return {0: self.mask.astype(np.uint8) * 255}\n"
        )
        frames, masks = moving
        result = rv.propagate(frames, masks[1], 1, str(tmp_path / "still.py"))
        assert (result.masks == masks[1]).all() and (result.scores == 1).all()

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"frames": lambda f, m: f / 255}, "frames: frame 0 is an array of dtype float64.*convert values in 0..1"),
            ({"frames": lambda f, m: f[0]}, r"frames: an array or sequence of shape \(48, 70, 3\)"),
            ({"frames": lambda f, m: f[..., 0]}, r"frames: an array or sequence of shape \(6, 48, 70\)"),
            ({"frames": lambda f, m: f[..., :2]}, r"shape \(48, 70, 2\), expected uint8 \[H, W, 3\]"),
            ({"frames": lambda f, m: []}, "without frames, expected uint8"),
            ({"frames": lambda f, m: 7}, "frames: 7, expected uint8"),
            ({"frames": lambda f, m: [f[0], f[0][:40]]}, "frame 1 has shape"),
            ({"frames": lambda f, m: [[1, 2]]}, "frame 0 is of type list, expected"),
            ({"frames": lambda f, m: "no/such/folder"}, "no/such/folder: no such folder"),
            ({"frames": lambda f, m: ROOT / "docs" / "models.md"}, "models.md: cannot be read: Not a directory"),
            ({"frames": lambda f, m: ROOT / "recipes"}, "contains no pictures"),
            ({"mask": lambda f, m: m[0] * 0.7}, "mask has dtype float64, expected bool"),
            ({"mask": lambda f, m: m[0] * np.uint8(3)}, "mask of dtype uint8 holds the values 0, 3"),
            ({"mask": lambda f, m: m}, r"mask: an array of dtype bool and shape \(6, 48, 70\), expected bool \[H, W\]"),
            ({"mask": lambda f, m: m[0, :40]}, r"mask: shape \(40, 70\), expected the frames' \(48, 70\) \(H, W\)"),
            ({"mask": lambda f, m: None}, "mask: of type NoneType"),
            ({"key_frame": lambda f, m: 6}, "key_frame: 6, expected a whole number from 0 to 5"),
            ({"key_frame": lambda f, m: -1}, "key_frame: -1"),
            ({"key_frame": lambda f, m: 1.0}, "key_frame: 1.0"),
            ({"key_frame": lambda f, m: True}, "key_frame: True"),
            ({"with_": lambda f, m: "flw"}, "no propagator is called 'flw'"),
            ({"with_": lambda f, m: 3}, "with_: 3, expected"),
            ({"max_sid": lambda f, m: 64}, "unknown key `max_sid`, did you mean `max_side`"),
            ({"with_": lambda f, m: Flow(), "max_side": lambda f, m: 64}, "max_side: settings belong to"),
        ],
    )
    def test_wrong_input_is_a_sentence(self, moving, change, sentence):
        arguments = {"frames": moving[0], "mask": moving[1][0], "key_frame": 0}
        arguments |= {key: make(*moving) for key, make in change.items()}
        with pytest.raises(rv.InputError, match=sentence):
            rv.propagate(**arguments)

    def test_all_problems_are_reported_together(self, moving):
        found = problems(rv.propagate, moving[0], moving[1], 9, "flow", nope=1)
        assert len(found) == 3 and "mask" in found[0] and "nope" in found[1] and "key_frame" in found[2]


def picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path)) > 0


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(tiny benchmark, result of the API): the command has run in `tiny.out`, the API with the same recipe."""
    tiny = make_tiny(tmp_path_factory.mktemp("api"), clips=("a",))
    assert run_ensemble.main([*tiny.arguments]) == 0
    return tiny, rv.run(tiny.recipe, out=tiny.root.parent / "api")


class TestRun:
    def test_files_and_numbers_are_those_of_the_command(self, done):
        tiny, result = done
        for name in ("submission.zip", "metrics.csv", "metrics.json"):
            assert (result.out / name).read_bytes() == (tiny.out / name).read_bytes(), name
        assert files_below(result.annotations) == files_below(tiny.out / "Annotations")

    def test_tables(self, done):
        tiny, result = done
        steps = json.loads((tiny.out / "metrics.json").read_text())["steps"]
        assert result.metrics.to_dict("index") == steps and result.metrics.index.name == "step"
        assert result.output == "smr_flow" and result.metrics.index[-1] == "smr_flow"
        rows = result.scores[result.scores.step == "smr_flow"]
        assert list(rows.expression) == ["0", "1", "2"] and list(rows["text"]) == ["block 0", "block 0", "block 1"]
        assert rows["J"].mean() == pytest.approx(result.metrics.loc["smr_flow", "J"], abs=1e-12)

    def test_masks_are_those_of_the_pictures(self, done):
        _, result = done
        assert list(result.masks) == ["a"] and list(result.masks["a"]) == ["0", "1", "2"]
        masks = result.masks["a"]["1"]
        files = sorted((result.annotations / "a" / "1").iterdir())
        assert masks.dtype == bool and (masks == np.stack([picture(f) for f in files])).all() and masks.any()
        for keys in (("b",), ("a", "7")):
            with pytest.raises(KeyError):
                result.masks[keys[0]][keys[-1]]

    def test_paths_manifest_and_earlier_runs(self, done):
        tiny, result = done
        assert result.report.name == "report.html" and result.report.is_file() and result.submission.is_file()
        assert result.failures == {} and repr(result).endswith("1 clips, 0 failed)")
        earlier = rv.RunResult(str(tiny.out))
        assert earlier.metrics.equals(result.metrics) and earlier.log == []
        assert earlier.manifest["config"]["steps"]["smr"]["threshold"] == 0.5

    def test_nothing_is_printed_unless_verbose(self, done, capfd):
        tiny, result = done
        again = rv.run(tiny.recipe, out=result.out)
        assert capfd.readouterr() == ("", "")
        assert again.log[-1].startswith("0 clips done, 1 reused, 0 failed") and not any("%|" in s for s in again.log)
        assert rv.run(tiny.recipe, out=result.out, verbose=True).log == []
        assert "0 clips done, 1 reused" in capfd.readouterr().out

    def test_dots_and_tables_mean_the_same(self, done, tmp_path):
        tiny, _ = done
        less = {"report": False, "submission": False, "store": str(tmp_path / "store")}
        dotted = rv.run(tiny.recipe, {"steps.smr.threshold": np.int64(3), **less}, out=tmp_path / "dots")
        nested = rv.run(str(tiny.recipe), steps={"smr": {"threshold": 3}}, out=tmp_path / "table", **less)
        assert dotted.manifest["config"]["steps"] == nested.manifest["config"]["steps"]
        assert dotted.metrics.equals(nested.metrics)
        assert nested.report is None and nested.submission is None
        assert run_ensemble.main([f"recipe={tiny.recipe}", "steps.smr.threshold=3", f"out={tmp_path / 'command'}"]) == 0
        assert (dotted.out / "metrics.csv").read_bytes() == (tmp_path / "command" / "metrics.csv").read_bytes()

    def test_masks_come_from_the_zip_where_no_pictures_are_written(self, done, tmp_path):
        tiny, result = done
        zipped = rv.run(tiny.recipe, annotations=False, report=False, out=tmp_path / "zip", store=result.out / "store")
        assert zipped.annotations is None and list(zipped.masks) == ["a"]
        assert (zipped.masks["a"]["2"] == result.masks["a"]["2"]).all()
        bare = rv.run(tiny.recipe, annotations=False, submission=False, out=tmp_path / "bare", report=False)
        assert "annotations=True or submission=True" in problems(lambda: bare.masks)[0]

    def test_a_table_with_a_data_set_replaces_that_of_the_recipe(self, done, tmp_path):
        tiny, _ = done
        folder = {
            "dataset": "folder",
            "root": tiny.root / "valid" / "JPEGImages",
            "expressions": ["one", "two", "three"],
        }
        result = rv.run(tiny.recipe, data=folder, out=tmp_path / "out", report=False)
        assert result.scores.empty and list(result.scores) == ["clip", "expression", "text", "step", "J", "F", "J&F"]
        assert result.metrics.empty and result.masks["a"]["2"].shape == (5, 48, 70)

    def test_text_is_never_a_reference(self, done, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert rv.run(done[0].recipe, out="${output}", report=False).out == Path("${output}")

    def test_failed_clips_are_named_and_the_next_call_resumes(self, tmp_path):
        tiny = make_tiny(tmp_path, clips=("a", "b"))
        mask, whole = tiny.mask_file(clip="b"), tiny.mask_file(clip="b").read_bytes()
        mask.write_bytes(whole[:60])
        result = rv.run(tiny.recipe, out=tiny.out, report=False)
        assert list(result.failures) == ["b"] and str(mask) in result.failures["b"]
        assert list(result.masks) == ["a"] and set(result.scores["clip"]) == {"a"} and result.submission is None
        mask.write_bytes(whole)
        result = rv.run(tiny.recipe, out=tiny.out, report=False)
        assert not result.failures and list(result.masks) == ["a", "b"]
        mask.write_bytes(whole[:60])  # now the folder has complete results, which stay
        found = problems(rv.run, tiny.recipe, out=tiny.out, report=False)
        assert "no result of this run was published" in found[0] and any(str(mask) in line for line in found)
        assert not rv.RunResult(tiny.out).failures

    @pytest.mark.parametrize(
        ("overrides", "top", "sentence"),
        [
            ({"steps.smr.treshold": 3}, {}, "unknown key `treshold`, did you mean `threshold`"),
            ({"steps.smr.threshold": "3"}, {}, "`threshold` is '3', expected a count"),
            ({}, {"nope": 1}, "unknown key `nope`"),
            ({}, {"steps": 4}, "steps is 4, expected"),
            ({}, {"report": object()}, "report: a value of type object, expected text"),
            ({"steps.smr": {"threshold": {1, 2}}}, {}, "steps.smr.threshold: a value of type set"),
            ({"data.root": "no/such"}, {}, "no/such"),
            ({}, {"data": "nosuch"}, "no data table 'nosuch'"),
            ({"report": False}, {"report": True}, "report: in the overrides and as a keyword; give it once"),
            ({3: 4}, {}, "expected a dict from keys such as"),
            (["steps.smr.threshold=3"], {}, "expected a dict from keys such as"),
            ({"sources.socc.path": "x"}, {}, "unknown key `socc`, did you mean `soc`"),
        ],
    )
    def test_wrong_overrides_are_a_sentence(self, done, tmp_path, overrides, top, sentence):
        with pytest.raises(rv.InputError, match=sentence):
            rv.run(done[0].recipe, overrides, out=tmp_path / "out", **top)
        assert not (tmp_path / "out").exists()

    def test_recipes_that_do_not_exist(self, tmp_path):
        assert "no recipe 'stage9'" in problems(rv.run, "stage9")[0]
        assert "manifest.json" in problems(rv.RunResult, tmp_path)[0]


class TestEvaluate:
    def test_numbers_and_files_are_those_of_the_command(self, done, tmp_path, capfd):
        tiny, result = done
        arguments = ["protocol=ref_youtube_vos", f"gt={tiny.root}", f"pred={result.submission}", "missing=zero"]
        assert run_ensemble.main(["evaluate", *arguments, f"out={tmp_path / 'command'}"]) == 0
        capfd.readouterr()
        scored = rv.evaluate(tiny.root, result.submission, "ref_youtube_vos", missing="zero", out=tmp_path / "api")
        assert capfd.readouterr() == ("", "")
        for name in ("metrics.csv", "metrics.json"):
            assert (tmp_path / "api" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
        assert scored.summary == json.loads((tmp_path / "api/metrics.json").read_text())["summary"]
        assert scored.summary["J&F-Mean"] == pytest.approx(result.metrics.loc["smr_flow", "J&F"], abs=1e-12)
        assert len(scored.rows) == 3 and not (tmp_path / "runs").exists()

    def test_an_instance_is_a_protocol_too(self, done):
        from rvos_ensemble.ensemble.metrics.protocols.ref_youtube_vos import RefYoutubeVosProtocol

        tiny, result = done
        scored = rv.evaluate(tiny.root, result.annotations, RefYoutubeVosProtocol(), workers=1)
        assert scored.summary == rv.evaluate(tiny.root, result.annotations, "ref_youtube_vos").summary

    def test_all_problems_are_reported_together(self, done, tmp_path):
        found = problems(rv.evaluate, tmp_path / "gt", tmp_path / "pred", "ref_youtube_vos", workers=-1, missin="zero")
        wanted = ("missin", "workers", "given as `gt`", "given as `pred`")
        assert len(found) == 4 and all(w in f for w, f in zip(wanted, found, strict=True))
        tiny, result = done
        inside = problems(rv.evaluate, tiny.root, result.annotations, "ref_youtube_vos", out=result.annotations / "x")
        assert "lies in `pred`" in inside[0] and not (result.annotations / "x").exists()
        assert "no protocol is called" in problems(rv.evaluate, tiny.root, tiny.root, "ref_youtube")[0]
        assert "protocol: 7, expected" in problems(rv.evaluate, tiny.root, tiny.root, 7)[0]


class TestDocs:
    page = (ROOT / "docs" / "api.md").read_text()

    def test_the_page_has_every_public_name_and_no_other(self):
        assert set(re.findall(r"\brv\.(\w+)", self.page)) == set(rv.__all__)

    def test_every_example_compiles(self):
        blocks = re.findall(r"```python\n(.*?)```", self.page, re.DOTALL)
        assert len(blocks) > 5
        for block in blocks:
            compile(block, "docs/api.md", "exec")

    def test_the_adapter_of_the_page_runs(self, done, tmp_path, monkeypatch):
        [adapter] = re.findall(r"```python\n# bright.py\n(.*?)```", self.page, re.DOTALL)
        (tmp_path / "bright.py").write_text(adapter)
        monkeypatch.chdir(tmp_path)
        bright = {"adapter": "bright.py", "threshold": 100}
        result = rv.run(done[0].recipe, {"sources.bright": bright}, output="bright", report=False)
        assert result.masks["a"]["0"].any() and not result.masks["a"]["0"].all()
        assert result.out == Path("runs/tiny")


@pytest.mark.parametrize("frames", ["real", "rendered"])
def test_the_notebook_runs(frames, tmp_path, monkeypatch, request):
    """Its cells, in one namespace, from an empty folder; it renders its frames where no ../shared exists."""
    text = (ROOT / "docs" / "api.ipynb").read_text(encoding="utf-8")
    if frames == "real":
        request.getfixturevalue("shared")
    else:
        text = text.replace("shared/data", "no/such")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for number, cell in enumerate(json.loads(text)["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"docs/api.ipynb, cell {number}", "exec"), namespace)
    assert (namespace["frames"].shape[1:3] == (480, 854)) == (frames == "real")
    assert min(j for j, _ in namespace["scores"].values()) > 0.5
    assert list(namespace["run"].metrics.index) == ["soc", "propagated"]
