"""The embedded default data set: a small benchmark that is rendered on first use."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.settings import choice, either, listed, names, text, whole
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.atomic_folder import AtomicFolder
from rvos_ensemble.adapters.datasets.meta import subset
from rvos_ensemble.adapters.datasets.mevis import Mevis
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.datasets.shapes.levels import BENCHMARKS, LEVELS, SMALLEST

STAMP = "rendered.json"
CLIP = re.compile(rf"\d\d+_({'|'.join(LEVELS)})_\w+")
PICTURE = re.compile(rf"valid(_u)?/(JPEGImages/{CLIP.pattern}/\d{{5,}}\.jpg|Annotations/{CLIP.pattern}/\d{{5,}}\.png)")
MEVIS_LIST, MEVIS_MASKS = "valid_u/meta_expressions_v2.json", "valid_u/mask_dict.json"
LISTS = (*(f"meta_expressions/valid/{name}.json" for name in ("meta_expressions", "obj_ids")), MEVIS_LIST)
FEWEST, MOST = 4, 1 << 14  # fewest frames per clip; most pixels per side, frames per clip, and clips
SEED = whole(0)


class Shapes(Dataset):
    """The embedded default: renders a small benchmark in the layout of Ref-YouTube-VOS, or of MeViSv2.

    Textured objects move, turn, bend and change size over a textured background, filmed by a shaking camera in changing
    light. The clips contain twins (equal appearance, different motion), occlusions, objects that leave and return, and
    pairs of sentences about appearance and motion; one clip in eight has an odd number of them. In the form of MeViSv2,
    a clip has ten expressions, which refer to one object, several or none. See docs/shapes.md.

    The files are rendered once. They are identical for identical versions of NumPy, OpenCV and zlib-ng.

    Settings:
        root: folder to render into; it is rendered again if the settings change.
        benchmark: "ref_youtube_vos" or "mevis": the benchmark whose kinds of expressions and file layout it has; the
            two have no clip in common.
        split: "train", "val" or "test", which have no clip in common, whatever the seeds.
        level: "easy", "medium" or "hard"; null alternates between them.
        seed: selects the benchmark; several seeds, as in [0, 1, 2], combine the clips of all.
        clips: number of clips per seed.
        frames: number of frames of each clip.
        size: (H, W) in pixels.
        videos: restricts the data set to these videos.
    """

    version = 4  # increase it when anything that is rendered changes
    defaults = {
        "root": text(),
        "benchmark": choice(*BENCHMARKS),
        "split": choice("test", "train", "val"),
        "level": choice(None, *LEVELS),
        # one number or several; None is 0
        "seed": either(None, SEED, listed(SEED, least=1), what="a whole number of at least 0, or several in a list"),
        "clips": whole(8, least=1, most=MOST),
        "frames": whole(24, least=FEWEST, most=MOST),
        "size": listed(
            whole(least=SMALLEST, most=MOST),
            [180, 320],
            least=2,
            most=2,
            what=f"[height, width] of {SMALLEST} to {MOST} pixels each",
        ),
        "videos": names(None),
    }

    def clips(self) -> list[Clip]:
        """Every clip, sorted by name, read from the rendered files.

        Raises:
            InputError: see `prepare`.
        """
        if parts := self._of_seeds():
            every = {f"seed{seed}_{clip.name}": clip for seed, part in parts.items() for clip in part.clips()}
            wanted = subset(every, self.settings.videos, self._root())
            return [replace(clip, name=name) for name, clip in wanted.items()]
        self.prepare()
        return self._reader().clips()

    def may_have(self, video: str) -> bool:
        """Whether the renderer gives clips names of this form."""
        return CLIP.fullmatch(re.sub(r"^seed\d+_", "", video)) is not None

    def prepare(self) -> None:
        """Renders the files unless they exist.

        A run that is killed leaves the folder as it was; if two start at once, one waits for the other. If files were
        removed or altered since, all are rendered again.

        Raises:
            InputError: a folder that cannot be written, or holds files of another origin.
        """
        if parts := self._of_seeds():
            for part in parts.values():
                part.prepare()
            return
        self._folder().make(self._render)

    @property
    def zip_root(self) -> str:
        """Top folder inside the submission zip of the benchmark that it imitates."""
        return self._reader().zip_root

    def _reader(self) -> Dataset:
        """The data set that reads the rendered files."""
        root, videos = str(self._root()), self.settings.videos
        if self._is_mevis():
            return Mevis(root=root, split="valid_u", meta=str(self._root() / MEVIS_LIST), videos=videos)
        return RefYoutubeVOS(root=root, split="valid", videos=videos)

    def _is_mevis(self) -> bool:
        return self.settings.benchmark == "mevis"

    def _of_seeds(self) -> dict[int, Shapes]:
        """{seed: its benchmark, in a subfolder}; empty if there is only one seed, which needs no subfolder."""
        s = {**vars(self.settings), "videos": None}
        if not isinstance(s["seed"], (list, tuple)):
            return {}
        return {n: Shapes(**{**s, "seed": n, "root": str(self._root() / f"seed{n}")}) for n in s["seed"]}

    def _root(self) -> Path:
        return user_path(self.settings.root).absolute()

    def _folder(self) -> AtomicFolder:
        return AtomicFolder(self._root(), self._wanted(), STAMP, self._is_own, "data.root", "rendering")

    def _is_own(self, name: str) -> bool:
        """Whether this renderer writes a file of that name, whatever its settings."""
        if name == MEVIS_MASKS:  # which names no clip
            return self._is_own(MEVIS_LIST)
        if name not in LISTS:
            return PICTURE.fullmatch(name) is not None
        try:
            content = read_json(self._root() / name)
        except InputError:
            return False
        videos = content.get("videos", content) if isinstance(content, dict) else None
        return isinstance(videos, dict) and len(videos) > 0 and all(map(CLIP.fullmatch, videos))

    def _render(self, folder: Path) -> None:
        # imported here, because reading the data set rarely needs the renderer
        if self._is_mevis():
            from rvos_ensemble.adapters.datasets.shapes.mevis.layout import render
        else:
            from rvos_ensemble.adapters.datasets.shapes.layout import render

        wanted = self._wanted()
        print(f"shapes: rendering {wanted['clips']} clips into {self._root()} (once)", file=sys.stderr, flush=True)
        render(folder, **{key: value for key, value in wanted.items() if key not in ("version", "benchmark")})

    def _wanted(self) -> dict:
        """What is rendered, as recorded in the stamp."""
        s = self.settings
        wanted = {
            **({"benchmark": s.benchmark} if self._is_mevis() else {}),
            "split": s.split,
            "level": s.level,
            "seed": s.seed or 0,
            "clips": s.clips,
            "frames": s.frames,
            "size": list(s.size),
        }
        return {"version": self.version, **wanted}
