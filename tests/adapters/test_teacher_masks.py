"""Masks of a teacher for training: the model in pieces, the choice of pictures, and resuming."""

import io
import json
import subprocess
import tarfile

import cv2
import numpy as np
import pytest

from benchmarks import teacher_masks
from rvos_ensemble.adapters.core.errors import InputError


def package(path, pieces, size):
    """An npm package with a model in pieces, listed in the given order."""
    chunks = [{"hash": f"piece{start}", "offsets": [start, start + len(data)]} for start, data in pieces]
    files = {f"piece{start}": data for start, data in pieces}
    files["resources.json"] = json.dumps({teacher_masks.MODEL: {"chunks": chunks, "size": size}}).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_the_pieces_of_the_model_are_joined_by_their_offsets(tmp_path):
    file = package(tmp_path / "a.tgz", [(3, b"def"), (0, b"abc")], 6)
    assert teacher_masks.model(file) == b"abcdef"


def test_an_incomplete_or_another_package_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="has 3 bytes, expected 6; download it again"):
        teacher_masks.model(package(tmp_path / "a.tgz", [(0, b"abc")], 6))
    (tmp_path / "b.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"b\.tgz: .*expected the file of `npm pack"):
        teacher_masks.model(tmp_path / "b.tgz")


def test_is_sure():
    clean = np.zeros((100, 100), np.float32)
    clean[20:60, 20:60] = 1
    assert teacher_masks.is_sure(clean)
    blurred = cv2.GaussianBlur(clean, (0, 0), 15)
    assert not teacher_masks.is_sure(blurred)
    assert not teacher_masks.is_sure(np.zeros_like(clean))
    assert not teacher_masks.is_sure(np.ones_like(clean))
    tiny = np.zeros_like(clean)
    tiny[:5, :5] = 1
    assert not teacher_masks.is_sure(tiny)


def test_pictures_on_which_the_teacher_is_sure_are_written_and_a_rerun_goes_on(tmp_path, monkeypatch):
    repository = tmp_path / "repo"
    repository.mkdir()
    for name, side in [("a.JPEG", 40), ("b.JPEG", 50), ("c.JPEG", 60)]:
        cv2.imwrite(str(repository / "x.jpg"), np.full((side, side, 3), 200, np.uint8))
        (repository / "x.jpg").rename(repository / name)
    (repository / "README.md").write_text("no picture")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "pictures"]):
        subprocess.run([*git, *arguments], check=True)
    asked = []

    class Fake:
        def __init__(self, data):
            assert data == b"abc"

        def __call__(self, picture):
            asked.append(len(picture))
            probability = np.zeros(picture.shape[:2], np.float32)
            probability[10:30, 10:30] = 0.5 if len(picture) == 50 else 1  # unsure about b
            return probability

    monkeypatch.setattr(teacher_masks, "Teacher", Fake)
    teacher = package(tmp_path / "a.tgz", [(0, b"abc")], 3)
    command = [str(tmp_path / "out"), "--teacher", str(teacher), "--pictures", str(repository)]
    teacher_masks.main([*command, "--count", "1"])
    assert len(asked) == 1
    teacher_masks.main(command)
    assert sorted(asked) == [40, 50, 60]  # none twice
    written = sorted((tmp_path / "out" / "pictures" / "Annotations").glob("*/00000.png"))
    assert [p.parent.name for p in written] == ["teacher-a", "teacher-c"]
    ids = cv2.imread(str(written[0]), cv2.IMREAD_UNCHANGED)
    assert ids.shape[:2] == (40, 40) and np.count_nonzero(ids if ids.ndim == 2 else ids.any(-1)) == 400
