"""`shapes` on disk: damaged files are rendered again, files of others are never deleted, no leftovers remain."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets import atomic_folder
from rvos_ensemble.adapters.datasets.shapes import Shapes

TINY = {"clips": 2, "frames": 4, "size": [48, 64]}
STAMP = "rendered.json"
LIST = "meta_expressions/valid/meta_expressions.json"
ROOT = Path(__file__).resolve().parents[2]


def files_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("rendered") / "r"
    Shapes(root=str(root), **TINY).prepare()
    return files_of(root)


@pytest.fixture
def root(rendered, tmp_path):
    for name, data in rendered.items():
        path = tmp_path / "r" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "r"


def open_shapes(root, **settings) -> Shapes:
    return Shapes(**{"root": str(root), **TINY, **settings})


def failure(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def flip(path):
    """Flips one bit without changing length or time."""
    status, raw = path.stat(), bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("kind", ["jpg", "png", "meta_expressions.json", "obj_ids.json"])
@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda p: p.write_bytes(b"{}"), lambda p: p.write_bytes(b"")])
def test_a_file_that_was_altered_or_lost_is_rendered_again(root, rendered, kind, damage):
    damage(sorted(root.rglob(f"*{kind}"))[-1])
    clips = open_shapes(root).clips()
    assert files_of(root) == rendered and [c.inspect() for c in clips] == [[], []]
    assert [p.name for p in root.parent.iterdir()] == ["r"]


def stamps(good: dict) -> dict[str, str]:
    files = good["files"]
    return {
        "empty": "",
        "cut": json.dumps(good)[:-20],
        "a list": "[]",
        "no json": "hello",
        "no files": json.dumps({k: v for k, v in good.items() if k != "files"}),
        "files null": json.dumps({**good, "files": None}),
        "files a list": json.dumps({**good, "files": [*files]}),
        "of no files": json.dumps({**good, "files": {}}),
        "one less": json.dumps({**good, "files": {k: v for k, v in list(files.items())[1:]}}),
        "one more": json.dumps({**good, "files": {**files, "valid/x.png": [1, "0"]}}),
        "lengths": json.dumps({**good, "files": {k: v[0] for k, v in files.items()}}),
        "as earlier versions": json.dumps({"rendered": good["made_of"], "files": {k: v[0] for k, v in files.items()}}),
        "nested": "[" * 100_000,
        "no utf-8": "\udcff",
    }


@pytest.mark.parametrize("kind", stamps({"files": {}, "made_of": {}}))
def test_a_stamp_that_is_not_what_is_written_here_is_no_stamp(root, rendered, kind):
    text = stamps(json.loads(rendered[STAMP]))[kind]
    (root / STAMP).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert len(open_shapes(root).clips()) == 2
    assert files_of(root) == rendered


def test_without_its_stamp_a_rendering_is_known_by_its_files(root, rendered):
    (root / STAMP).unlink()
    sorted(root.rglob("*.jpg"))[0].unlink()
    open_shapes(root).prepare()
    assert files_of(root) == rendered


def test_data_of_somebody_else_in_the_same_layout_is_never_deleted(tmp_path):
    mine = tmp_path / "mine"
    (mine / LIST).parent.mkdir(parents=True)
    (mine / LIST).write_text(json.dumps({"videos": {"0062f687f1": {"expressions": {}, "frames": []}}}))
    before = files_of(tmp_path)
    message = failure(open_shapes(mine).prepare)
    assert f"{mine}: " in message and f"files of another origin, such as {LIST}" in message and "`data.root`" in message
    picture = mine / "valid/JPEGImages/0062f687f1/00000.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"x")
    (mine / STAMP).write_text("{}")
    assert "of another origin" in failure(open_shapes(mine).prepare)
    assert set(files_of(tmp_path)) - set(before) == {f"mine/{picture.relative_to(mine)}", f"mine/{STAMP}"}


def test_files_of_others_beside_an_intact_rendering_are_no_harm(root, rendered):
    (root / "notes.txt").write_text("mine")
    open_shapes(root).prepare()
    assert files_of(root) == {**rendered, "notes.txt": b"mine"}
    os.symlink("/nowhere", root / "valid" / "link")
    flip(sorted(root.rglob("*.jpg"))[0])
    assert "of another origin" in failure(open_shapes(root).prepare)
    assert (root / "notes.txt").read_text() == "mine" and (root / "valid" / "link").is_symlink()


def test_a_refused_run_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for settings in ({"clips": 0}, {"size": [1, 1]}, {"seed": [0, -1]}):
        with pytest.raises(InputError):
            Shapes(**{"root": "deep/r", **TINY, **settings}).prepare()
    (tmp_path / "file").write_text("x")
    assert "a file, expected a folder" in failure(open_shapes("file").prepare)
    assert "cannot be written" in failure(open_shapes("file/r").prepare)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_names_the_folder_and_leaves_nothing(tmp_path, rendered):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        message = failure(open_shapes(disk / "deep" / "r").prepare)
        assert f"{disk}/deep/r: cannot be written: No space left on device" in message
        assert list(disk.iterdir()) == []
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        open_shapes(disk / "deep" / "r").prepare()
        assert files_of(disk / "deep" / "r") == rendered
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_may_not_be_written_is_read_where_it_is_intact(root):
    lock = root.parent / ".r.lock"  # as earlier versions left one; it may stay
    code = f"""
import os
from rvos_ensemble.adapters.datasets import atomic_folder
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.core.errors import InputError
shapes = Shapes(root={str(root)!r}, **{TINY!r})
shapes.clips()  # so that all is loaded that another user may not be allowed to read
open({str(lock)!r}, "w").close()
atomic_folder._compared.clear()
os.setuid(65534)
print(len(shapes.clips()))
try:
    Shapes(root={str(root.parent / "other")!r}, **{TINY!r}).prepare()
except InputError as error:
    print(error)
"""
    if os.getuid() != 0:
        pytest.skip("needs the right to become another user")
    for folder in (root, *root.parents):
        if folder.stat().st_mode & 0o055 != 0o055 and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    clips, message = done.stdout.splitlines()
    assert lock.exists() and clips == "2"
    assert message.endswith("or give another `data.root`") and "Permission denied" in message


def test_an_intact_rendering_is_verified_in_no_time(root, monkeypatch):
    monkeypatch.setattr(atomic_folder, "_compared", {})
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        open_shapes(root).prepare()
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.02, "only a check of its files"
