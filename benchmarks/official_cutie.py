"""The official Cutie with seeded weights: golden numbers for the tests, and masks of a clip of your own beside ours.

    git clone https://github.com/hkchengrex/Cutie CHECKOUT
    python -m benchmarks.official_cutie CHECKOUT golden tests/propagators/cutie/golden.npz
    python -m benchmarks.official_cutie CHECKOUT clip FRAMES_FOLDER MASK.png [--frames 12] [--models small base]

The checkout needs torch and omegaconf only: hydra's files are merged here, and ResNets start without downloads. The
golden file has, for each scene of `tests/helpers/cutie_scenes.py`, `SCENE_p` (probabilities of the kept frames, uint16
[frames, H, W]), and for the two published networks a few channels of what is computed on the first two frames.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

CHANNELS = 8  # of each intermediate map in the golden file


class Official:
    """The official network and its configuration.

    Args:
        checkout: folder of the official code.
        network: "base", "small", or "narrow", whose transformers are small.
        changes: values that replace those of eval_config.yaml.
    """

    def __init__(self, checkout: Path, network: str, changes: dict[str, Any] | None = None):
        import_official(checkout)
        from cutie.model.cutie import CUTIE

        from tests.helpers.cutie_scenes import seed

        self.config = configuration(checkout, network, changes or {})
        self.network = CUTIE(self.config).eval()
        self.network.load_state_dict(seed(self.network.state_dict(), network))

    def core(self):
        """A new `InferenceCore`, with a clean memory."""
        from cutie.inference.inference_core import InferenceCore

        return InferenceCore(self.network, self.config)


def import_official(checkout: Path) -> None:
    """Makes the official packages importable; their ResNets then start with random weights."""
    if str(checkout) in sys.path:
        return
    warnings.filterwarnings("ignore", "`torch.cuda.amp.autocast", FutureWarning)
    sys.path.insert(0, str(checkout))
    from cutie.model.utils import resnet

    def without_download(build):
        return lambda pretrained=True, extra_dim=0, model_dir=None: build(False, extra_dim)

    for name in ("resnet18", "resnet50"):
        setattr(resnet, name, without_download(getattr(resnet, name)))


def configuration(checkout: Path, network: str, changes: dict[str, Any]) -> DictConfig:
    """eval_config.yaml with the settings of DAVIS 2017, and changes."""
    folder = checkout / "cutie" / "config"
    config = OmegaConf.load(folder / "eval_config.yaml")
    model = OmegaConf.load(folder / "model" / "base.yaml")
    if network != "base":
        model = OmegaConf.merge(model, OmegaConf.load(folder / "model" / "small.yaml"))
    if network == "narrow":
        narrow = dict.fromkeys(("pixel_dim", "value_dim", "sensory_dim", "embed_dim"), 32)
        blocks = {"ff_dim": 64, "num_heads": 2, "num_blocks": 2, "num_queries": 4}
        model = OmegaConf.merge(
            model, narrow, {"key_dim": 16, "object_transformer": blocks, "mask_decoder": {"up_dims": [32, 16, 16]}}
        )
    config.model, config.use_long_term, config.mem_every = model, False, 5
    return OmegaConf.merge(config, changes)


def as_input(frame: np.ndarray) -> torch.Tensor:
    """A frame, uint8 [H, W, 3], as the official input [3, H, W] in 0..1."""
    return torch.from_numpy(frame.copy()).permute(2, 0, 1).float() / 255


def run(core, frames: np.ndarray, masks: np.ndarray, references: tuple[int, ...]) -> np.ndarray:
    """The object's probabilities, float32 [T, H, W]; later reference masks are permanent."""
    results = []
    for t, frame in enumerate(frames):
        if t in references:
            p = core.step(as_input(frame), torch.from_numpy(masks[t]).long(), [1], force_permanent=t > 0)
        else:
            p = core.step(as_input(frame))
        results.append(p[1].numpy())
    return np.stack(results)


def first_steps(official: Official, frames: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Some channels of what the official network computes on two frames."""
    core, kept = official.core(), {}
    network = official.network
    readout, fused = network.object_transformer, network.pixel_fuser
    handles = [
        readout.register_forward_hook(lambda m, a, out: kept.update(readout=out[0][0, 0])),
        fused.register_forward_hook(lambda m, a, out: kept.update(fused=out[0, 0])),
    ]
    core.step(as_input(frames[0]), torch.from_numpy(masks[0]).long(), [1])
    store, memory = core.memory.work_mem, core.memory
    h, w = memory.H, memory.W
    kept |= {"key": store.k[0][0], "shrinkage": store.s[0][0], "value": store.v[1][0]}
    kept = {k: v.unflatten(-1, (h, w)) for k, v in kept.items()}
    kept |= {"deep_sensory": memory.sensory[1][0], "summaries": memory.obj_v[1][0].T[..., None]}
    kept["summaries"] = torch.cat([kept["summaries"][: CHANNELS - 1], kept["summaries"][-1:]])
    core.step(as_input(frames[1]))
    kept["sensory"] = memory.sensory[1][0]
    for handle in handles:
        handle.remove()
    return {k: v[:CHANNELS].clone().numpy() for k, v in kept.items()}


def write_golden(checkout: Path, file: Path) -> None:
    """Writes the golden file."""
    from tests.helpers.cutie_scenes import SCENES, video

    numbers = {}
    for name, scene in SCENES.items():
        official = Official(checkout, scene.network, scene.official)
        frames, masks = video(scene.size, scene.length)
        p = run(official.core(), frames, masks, scene.references)
        numbers[f"{name}_p"] = np.round(p[list(scene.kept)] * 65535).astype(np.uint16)
        share = [f"{(p[t] > 0.5).mean():.2f}" for t in range(scene.length)]
        print(f"{name}: shares of object pixels {' '.join(share)}", flush=True)
        if scene.network in ("small", "base"):
            numbers |= {f"{name}_{k}": v for k, v in first_steps(official, frames, masks).items()}
            numbers[f"{name}_names"] = np.array(
                [f"{k} {tuple(v.shape)}" for k, v in official.network.state_dict().items()]
            )
    np.savez_compressed(file, **numbers)


def compare_on_clip(checkout: Path, folder: Path, mask: Path, frames: int, models: list[str]) -> None:
    """Prints the agreement of both sides on a clip: frames of a folder, the non-zero pixels of a mask of the first."""
    import cv2
    from PIL import Image

    from rvos_ensemble.propagators.core.propagator import Frame
    from rvos_ensemble.propagators.cutie import Cutie

    files = sorted(folder.glob("*.jpg"))[:frames]
    images = np.stack([cv2.imread(str(f))[..., ::-1] for f in files])
    masks = np.repeat(np.asarray(Image.open(mask))[None] > 0, len(files), 0)
    for name in models:
        official = Official(checkout, name, {"max_internal_size": 480})
        with tempfile.TemporaryDirectory() as weights:
            torch.save(official.network.state_dict(), Path(weights) / "cutie.pth")
            propagator = Cutie(weights=f"{weights}/cutie.pth", device="cpu")
        theirs = run(official.core(), images, masks, (0,))
        sweep = propagator.sweep(images.shape[1:3], 1)
        for t, image in enumerate(images):
            out = np.asarray(sweep.step(Frame(t, image), {0: masks[0]} if t == 0 else {})[0])
            a, b = out > 127, theirs[t] > 0.5
            iou = (a & b).sum() / max((a | b).sum(), 1)
            difference = np.abs(out / 255 - theirs[t]).max()
            print(f"{name} frame {t}: IoU {iou:.5f}, largest difference {difference:.4f}, object {b.mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    golden = commands.add_parser("golden")
    golden.add_argument("file", type=Path)
    clip = commands.add_parser("clip")
    clip.add_argument("folder", type=Path)
    clip.add_argument("mask", type=Path)
    clip.add_argument("--frames", type=int, default=12)
    clip.add_argument("--models", nargs="+", default=["small", "base"], choices=["small", "base"])
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    if options.command == "golden":
        write_golden(options.checkout.resolve(), options.file)
    else:
        compare_on_clip(options.checkout.resolve(), options.folder, options.mask, options.frames, options.models)


if __name__ == "__main__":
    main()
