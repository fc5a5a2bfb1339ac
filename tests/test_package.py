"""What an installation brings: one package `rvos_ensemble` and one command, and nothing under a bare name."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("adapters", "propagators", "ensemble", "recipes")


def build(builder: str, root: Path, out: Path, version: str = "standard") -> Path:
    """Builds a distribution with hatchling, in this environment and without the registry."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed; it builds the package")
    sdist = pytest.importorskip("hatchling.builders.sdist")
    kind = {"wheel": wheel.WheelBuilder, "sdist": sdist.SdistBuilder}[builder]
    [path] = kind(str(root)).build(directory=str(out), versions=[version])
    return Path(path)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def files_of(root: Path) -> set[str]:
    """What a wheel of the checkout contains, dist-info aside."""
    files = {
        f for folder in FOLDERS for f in (root / folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts
    }
    names = {f"rvos_ensemble/{f.relative_to(root).as_posix()}" for f in files}
    return names | {"rvos_ensemble/__init__.py", "rvos_ensemble/run_ensemble.py"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("dist"))


def test_the_wheel_contains_every_file_under_one_name(wheel):
    names = names_in(wheel)
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in names - info} == {"rvos_ensemble"}
    assert names - info == files_of(ROOT)
    for suffix in (".py", ".yaml", ".txt", ".css", ".js", ".html", ".json", ".safetensors"):
        assert any(name.endswith(suffix) for name in names - info), suffix


def test_the_command_is_in_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [points] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "run_ensemble = rvos_ensemble.run_ensemble:main" in archive.read(points).decode().splitlines()
        for module, file in (("__init__", "rvos_ensemble"), ("run_ensemble", "run_ensemble")):
            assert archive.read(f"rvos_ensemble/{module}.py") == (ROOT / f"{file}.py").read_bytes()


def test_an_editable_installation_is_a_path_to_the_checkout(tmp_path):
    names = names_in(build("wheel", ROOT, tmp_path, "editable"))
    assert [name for name in names if ".dist-info/" not in name] == ["_rvos_ensemble.pth"]


@pytest.mark.slow
def test_a_wheel_of_the_source_distribution_is_the_same(wheel, tmp_path):
    source = build("sdist", ROOT, tmp_path)
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [root] = (tmp_path / "source").iterdir()
    assert names_in(build("wheel", root, tmp_path / "dist")) == names_in(wheel)


def run(*command: str | Path, cwd: Path, **kwargs) -> str:
    """Runs a command in a folder, without this checkout on the path; its output."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel and the registry's package `adapters`; dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    registry = subprocess.run([*install, "adapters"], capture_output=True, text=True, timeout=300, check=False)
    if registry.returncode:
        pytest.skip(f"`adapters` cannot be installed from the registry: {registry.stderr.strip()[-200:]}")
    subprocess.run([*install, str(wheel)], check=True, timeout=300)
    [site] = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return folder


API = """
import rvos_ensemble as rv, numpy as np
assert "site-packages" in rv.__file__, rv.__file__
result = rv.RunResult("results")
[clip] = result.masks
masks = result.masks[clip]["0"]
again = rv.run(
    "single", {"data.clips": 1, "data.frames": 8, "data.size": [64, 96]},
    source="soc", propagators={"aot": {"propagator": "flow"}}, engine={"workers": 1}, out="results"
)
assert again.manifest["clips"][clip]["status"] == "reused" and again.metrics.equals(result.metrics)
moved = rv.propagate(np.zeros((8, 64, 96, 3), np.uint8), masks[0], 0)
print(clip, masks.shape, rv.vote([masks, moved.masks, masks], 2).shape, rv.j_and_f(masks[0], moved.masks[0]))
"""


@pytest.mark.slow
def test_an_installation_beside_the_other_package_adapters_works_from_an_empty_folder(installed, tmp_path):
    python, command = installed / "bin" / "python", installed / "bin" / "run_ensemble"
    where = "import importlib.util as u; print(*((s := u.find_spec(n)) and s.origin for n in {}), sep='\\n')"
    named = run(python, "-c", where.format([*FOLDERS, "rvos_ensemble", "run_ensemble"]), cwd=tmp_path).split("\n")
    [site] = (installed / "lib").glob("python*/site-packages")
    assert named[:6] == [
        f"{site}/adapters/__init__.py",
        "None",
        "None",
        "None",
        f"{site}/rvos_ensemble/__init__.py",
        "None",
    ]
    assert "AdapterConfig" in (site / "adapters" / "__init__.py").read_text()  # theirs
    assert "stage2" in run(command, "list", cwd=tmp_path)
    small = ["data.clips=1", "data.frames=8", "data.size=[64,96]", "data.root=shapes"]
    flow = ["recipe=single", "source=soc", "propagators.aot.propagator=flow", "engine.workers=1", "out=results"]
    assert "1 clips done, 0 reused, 0 failed" in run(command, *flow, *small, cwd=tmp_path)
    scored = ["protocol=ref_youtube_vos", "gt=shapes", "pred=results/submission.zip"]
    assert "J&F" in run(command, "evaluate", *scored, cwd=tmp_path)
    api = API.replace('"data.size": [64, 96]', '"data.size": [64, 96], "data.root": "shapes"')
    assert "(8, 64, 96)" in run(python, "-c", api, cwd=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= {"results", "shapes", "runs"}
