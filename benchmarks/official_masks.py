"""ReferFormer, MUTR and SOC from checkpoint and JPEG to PNG: the official code compared with a recipe.

    git clone https://github.com/wjn922/ReferFormer CHECKOUT     (MUTR: OpenGVLab/MUTR, SOC: RobertLuo1/NeurIPS2023_SOC)
    pip install einops
    python -m benchmarks.official_masks referformer CHECKOUT FRAMES [--backbone resnet50] [--frames 3]

The official side runs in a separate process: seeded weights, saved in the layout of the official trainer, the network
of the checkout, and the steps of its inference script that lead to PNG files, transcribed by hand. Our side is
`run_ensemble.py` with the model's adapter on that checkpoint. FRAMES is a folder of JPEG files. `official_uninext` does
the same for UNINEXT; `rvos_models` measures time and memory.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from tokenizers import ByteLevelBPETokenizer

from benchmarks.rvos_models import BACKBONES, NETWORKS, SHORT_SIDE, binary, normalised, pictures, seeded
from rvos_ensemble.adapters.core.overlap import iou
from rvos_ensemble.adapters.inference.tokenization import load_tokenizer
from rvos_ensemble.adapters.networks import text

SENTENCES = ["a dog running on the left", "the second person from the right, walking"]
CLIP = "clip"


def tokenizer(folder: Path) -> None:
    """Files of a small RoBERTa tokenizer, trained on the sentences."""
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(SENTENCES, 300, min_frequency=1, special_tokens=special, show_progress=False)
    folder.mkdir()
    trained.save_model(str(folder))


def official(options: argparse.Namespace) -> None:
    """Writes OUT/weights.pth and OUT/official/VIDEO/EXPRESSION/FRAME.png."""
    from benchmarks.official_rvos import build

    words = load_tokenizer(text.ROBERTA, str(options.out / "tokenizer"))
    ids = [words.encode(sentence).ids for sentence in SENTENCES]
    encoder = text.roberta(vocabulary=words.get_vocab_size())
    network, run = build(options.model, options.checkout.resolve(), options.backbone, encoder, ids)
    weights = network.state_dict()
    for key, tensor in weights.items():
        if tensor.is_floating_point():
            tensor.copy_(seeded(key, tensor.shape))
    key = "model_state_dict" if options.model == "soc" else "model"
    torch.save({key: weights, "epoch": 1, "args": argparse.Namespace(lr=1e-4)}, options.out / "weights.pth")
    frames = pictures(options.out / "data" / CLIP, options.frames)
    names = sorted(path.stem for path in (options.out / "data" / CLIP).iterdir())
    clip = normalised(frames, SHORT_SIDE[options.model])
    for i, expression in enumerate(ids):
        folder = options.out / "official" / CLIP / str(i)
        folder.mkdir(parents=True)
        for name, mask in zip(names, binary(run(clip, expression)[0].numpy(), frames[0].size[::-1]), strict=True):
            Image.fromarray(mask.astype(np.float32) * 255).convert("L").save(folder / f"{name}.png")


def ours(out: Path, model: str) -> None:
    """Runs a recipe that is only the model's adapter."""
    source = {"adapter": model, "weights": str(out / "weights.pth"), "tokenizer": str(out / "tokenizer")}
    data = {"dataset": "folder", "root": str(out / "data"), "expressions": SENTENCES}
    recipe = {"data": data, "sources": {"model": source}, "output": "model"}
    OmegaConf.save(OmegaConf.create(recipe), out / "recipe.yaml")
    command = [sys.executable, "run_ensemble.py", f"recipe={out / 'recipe.yaml'}", f"out={out / 'run'}"]
    subprocess.run([*command, "engine.workers=1"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=NETWORKS)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--backbone")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.backbone = options.backbone or BACKBONES[options.model]
    if options.out:
        with torch.inference_mode():
            return official(options)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "data" / CLIP).mkdir(parents=True)
        for path in sorted(options.pictures.glob("*.jpg"))[: options.frames]:
            shutil.copy(path, out / "data" / CLIP)
        tokenizer(out / "tokenizer")
        command = [sys.executable, "-m", "benchmarks.official_masks", *sys.argv[1:], "--out", folder]
        subprocess.run(command, check=True)
        ours(out, options.model)
        for path in sorted((out / "official").rglob("*.png")):
            name = path.relative_to(out / "official")
            a, b = (np.asarray(Image.open(p)) > 0 for p in (path, out / "run" / "Annotations" / name))
            differing = np.count_nonzero(a ^ b)
            print(f"{name}: IoU {iou(a, b):.6f}, {differing} pixels differ, object on {a.mean():.1%} of the frame")


if __name__ == "__main__":
    main()
