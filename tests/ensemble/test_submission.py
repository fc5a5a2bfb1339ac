"""The submission zip: everything that a server would reject is rejected before."""

import json
import zipfile
from itertools import repeat

import numpy as np
import pytest

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.ensemble.report import submission


class Blank:
    size = (6, 10)


def clips():
    return [
        Clip(name, ("00000", "00010"), tuple(Expression(name, str(i), "a dog") for i in (2, 10)), Blank())
        for name in ("v1", "v2")
    ]


GOOD = png.encode(np.eye(6, 10, dtype=bool))


def write(path, root="Annotations/", data=GOOD):
    return submission.write(path, clips(), root, ([data] * 4 for _ in clips()))


@pytest.mark.parametrize(("root", "first"), [("Annotations/", "Annotations/v1/2/00000.png"), ("", "v1/2/00000.png")])
def test_a_right_zip(tmp_path, root, first):
    path = tmp_path / "s.zip"
    assert write(path, root) == submission.Plan(videos=2, expressions=4, masks=8)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[0] == first and len(archive.namelist()) == 8
    assert submission.check(path, clips(), root) == []
    again = tmp_path / "again.zip"
    write(again, root)
    assert again.read_bytes() == path.read_bytes(), "the same masks give the same bytes"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png.encode(np.ones((6, 11), bool)), r"is \(6, 11\) \(HxW\), expected \(6, 10\)"),
        (png.encode_indices(np.ones((6, 10), np.uint8)), "8-bit palette, expected 8-bit grey"),
        (GOOD[:-20], "v1/2/00000.png"),
        (b"", "v1/2/00000.png"),
    ],
)
def test_a_wrong_picture_is_refused_and_nothing_is_left(tmp_path, data, message):
    path = tmp_path / "s.zip"
    path.write_bytes(b"an older one")
    with pytest.raises(InputError, match=message):
        write(path, data=data)
    assert list(tmp_path.iterdir()) == []


def edit(path, change):
    """Rewrites a zip: change(names) -> {new name: data}."""
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members = change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: dict(list(m.items())[1:]), "Annotations/v1/2/00000.png is missing"),
        (lambda m: {**m, "Annotations/.DS_Store": b""}, ".DS_Store is not expected"),
        (lambda m: {**m, "results.csv": b""}, "results.csv is not expected"),
        (
            lambda m: {f"submission/{n}": d for n, d in m.items()},
            "wrong layout: it starts with 'submission/Annotations",
        ),
        (lambda m: {n.removeprefix("Annotations/"): d for n, d in m.items()}, "wrong layout: it starts with 'v1"),
        (lambda m: {}, "starts with 'nothing'"),
    ],
)
def test_zips_from_anywhere_are_checked(tmp_path, change, message):
    path = tmp_path / "s.zip"
    write(path)
    edit(path, change)
    assert message in "\n".join(submission.check(path, clips()))


def test_grey_levels_between_are_seen(tmp_path):
    import io

    from PIL import Image

    soft = io.BytesIO()
    Image.fromarray(np.full((6, 10), 100, np.uint8)).save(soft, "png")
    with pytest.raises(InputError, match="values between 100 and 100, expected 0 and 255"):
        write(tmp_path / "s.zip", data=soft.getvalue())


def test_something_that_is_no_zip(tmp_path):
    path = tmp_path / "s.zip"
    path.write_bytes(b"hello")
    assert "not a zip" in submission.check(path, clips())[0]
    assert "not a zip" in submission.check(tmp_path / "none.zip", clips())[0]


@pytest.mark.parametrize(("split", "counts"), [("valid", (202, 834, 22_046)), ("test", (305, 1262, 32_724))])
def test_the_official_counts(shared, tmp_path, split, counts):
    meta = shared / "data/expressions/ref_ytvos_valid_meta_expressions.json"
    folder = tmp_path / "meta_expressions" / "valid"
    folder.mkdir(parents=True)
    (folder / "meta_expressions.json").write_text(meta.read_text())
    official = RefYoutubeVOS(root=str(tmp_path), split=split, meta=str(folder / "meta_expressions.json")).clips()
    assert submission.plan(official) == submission.Plan(*counts)
    assert sum(len(submission.members(c, "Annotations/")) for c in official) == counts[2]


def test_the_official_zip_at_full_size(shared, tmp_path):
    """All 22 046 masks of the valid split pass through writing and checking."""
    meta = shared / "data/expressions/ref_ytvos_valid_meta_expressions.json"
    videos = json.loads(meta.read_text())["videos"]
    official = [
        Clip(c.name, c.frames, c.expressions, Blank())
        for c in RefYoutubeVOS(root=str(tmp_path), split="valid", meta=str(meta)).clips()
    ]
    assert len(videos) == 507
    pictures = (repeat(GOOD, len(c) * len(c.expressions)) for c in official)
    path = tmp_path / "submission.zip"
    assert submission.write(path, official, "Annotations/", pictures).masks == 22_046
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 22_046
