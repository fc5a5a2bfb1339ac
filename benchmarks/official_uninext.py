"""UNINEXT against its official code: checkpoint to PNG on both sides, mask by mask, and the time of both.

    git clone https://github.com/MasterBin-IIAU/UNINEXT CHECKOUT
    pip install einops timm torchvision fvcore iopath yacs scipy tabulate termcolor
    python -m benchmarks.official_uninext CHECKOUT FRAMES [--backbone resnet50] [--frames 4] [--short-side 480]

The official side runs first, in a process of its own, from an unchanged checkout: with random weights, which it saves
as its trainer does, and its own forward pass for Ref-YouTube-VOS, which writes PNG files. Our side is
`adapter: uninext` on that checkpoint. The compiled operator is replaced by the repository's own
`ms_deform_attn_core_pytorch`, and packages that are imported but not used by empty modules.

The rank of a proposal decides which of 900 queries starts from it, and the ratings of a few neighbours in rank always
differ by no more than rounding. Therefore masks are compared twice: once as they are, and once with the official
ratings of the proposals in place of ours, which shows all other differences.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import os
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image

CONFIGS = {"resnet50": "r50", "convnext_large": "convnext_large", "vit_huge": "vit_huge"}
EXPRESSIONS = ["a dog running on the left", "the second person from the right, walking"]
BERT = Path("projects/UNINEXT/bert-base-uncased")  # the official path, relative to the current folder


def empty_module(name: str, **contents) -> types.ModuleType:
    """Registers a module in place of a package that may be missing."""
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(contents)
    return module


def import_torchvision() -> None:
    """Imports torchvision, which `transformers` needs if it is installed, even if it was compiled for another torch."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision").library = library  # keeps the library alive


def register_substitutes() -> None:
    """Replaces compiled code and old libraries, so that the official code can be imported."""

    def compiled(name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    empty_module("detectron2._C", __getattr__=compiled)
    empty_module("skimage", color=None)
    empty_module("pycocotools.ytvos", YTVOS=None)
    empty_module("pycocotools.ytvoseval", YTVOSeval=None)
    empty_module("fairscale")
    empty_module("fairscale.nn")
    empty_module("fairscale.nn.checkpoint", checkpoint_wrapper=None)
    import transformers.modeling_utils as moved

    for name in ("apply_chunking_to_forward", "find_pruneable_heads_and_indices", "prune_linear_layer"):
        if not hasattr(moved, name):
            setattr(moved, name, None)
    for name, kind in (("bool", bool), ("int", int), ("float", float), ("object", object)):
        if name not in vars(np):
            setattr(np, name, kind)
    if not hasattr(Image, "LINEAR"):
        Image.LINEAR = Image.BILINEAR

    def operator(value, sizes, starts, places, weights, step):
        functions = importlib.import_module("uninext.models.deformable_detr.ops.functions.ms_deform_attn_func")
        return functions.ms_deform_attn_core_pytorch(value, sizes.tolist(), places, weights)

    empty_module("MultiScaleDeformableAttention", ms_deform_attn_forward=operator)


def official(o: argparse.Namespace) -> None:
    """Builds, saves and runs the official model; writes masks and the ratings of proposals to the folder `o.out`."""
    from tests.helpers.fanin import fill
    from tests.helpers.tiny_tokenizers import bert_folder

    sys.path[:0] = [str(o.checkout), str(o.checkout / "projects/UNINEXT")]
    register_substitutes()
    import detectron2.data.transforms as transforms
    from detectron2.config import get_cfg
    from detectron2.modeling import META_ARCH_REGISTRY
    from transformers import AutoTokenizer, BertConfig, BertModel
    from uninext import add_uninext_config
    from uninext.data.dataset_mapper_ytbvis import clean_string

    words = len((bert_folder(BERT) / "vocab.txt").read_text().splitlines())
    BertModel(BertConfig(vocab_size=words), add_pooling_layer=False).save_pretrained(BERT)
    config = get_cfg()
    add_uninext_config(config)
    config.merge_from_file(
        str(o.checkout / f"projects/UNINEXT/configs/eval-vid/video_joint_{CONFIGS[o.backbone]}_eval_rvos.yaml")
    )
    config.MODEL.DEVICE, config.OUTPUT_DIR = "cpu", str(o.out)
    tokenizer = type(AutoTokenizer.from_pretrained(str(BERT)))
    tokenizer.batch_encode_plus = lambda self, *a, **k: self(*a, **k)  # removed in transformers 5
    model = fill(META_ARCH_REGISTRY.get(config.MODEL.META_ARCHITECTURE)(config))
    torch.save({"model": model.state_dict(), "iteration": 0}, o.out / "model_final.pth")
    read = model.forward_text
    model.forward_text = lambda captions, device: read(captions, "cpu")
    ratings: list[torch.Tensor] = []
    model.detr.detr.class_embed[-1].register_forward_hook(lambda m, i, output: ratings.append(output[0].clone()))

    frames = [np.asarray(Image.open(path).convert("RGB")) for path in o.paths]
    resize = transforms.ResizeShortestEdge(o.short_side, config.INPUT.MAX_SIZE_TEST, "choice")
    frames = [resize.get_transform(x).apply_image(x).transpose(2, 0, 1).astype(np.float32) for x in frames]
    w, h = Image.open(o.paths[0]).size
    clip = {
        "image": list(map(torch.from_numpy, frames)),
        "dataset_name": "rvos-refytb-val",
        "task": "grounding",
        "video": "clip",
        "file_names": list(map(str, o.paths)),
        "height": h,
        "width": w,
    }
    start = time.process_time()
    with torch.no_grad():
        for e, expression in enumerate(EXPRESSIONS):
            model([clip | {"expressions": [clean_string(expression)], "exp_id": str(e)}])
    print_time("official", time.process_time() - start, len(frames))
    torch.save(ratings, o.out / "ratings.pth")


def ours(o: argparse.Namespace) -> None:
    """Runs the adapter on the checkpoint of the official side, and compares the masks."""
    from rvos_ensemble.adapters import Clip, Expression
    from rvos_ensemble.adapters.datasets.image_files import ImageFiles
    from rvos_ensemble.adapters.uninext import UNINEXTAdapter

    expressions = tuple(Expression("clip", str(i), text) for i, text in enumerate(EXPRESSIONS))
    clip = Clip("clip", tuple(p.stem for p in o.paths), expressions, ImageFiles(tuple(o.paths)))
    adapter = UNINEXTAdapter(
        weights=str(o.out / "model_final.pth"), tokenizer=str(o.out / BERT), short_side=o.short_side
    )
    rating = adapter.model.network.detr.detr.class_embed[-1]
    start = time.process_time()
    plain = adapter.predict(clip)
    print_time("ours", time.process_time() - start, len(o.paths))

    official_ratings = torch.load(o.out / "ratings.pth")  # ordered by expression; ours are ordered by frame
    order = iter([e * len(o.paths) + t for t in range(len(o.paths)) for e in range(len(EXPRESSIONS))])
    errors: list[float] = []

    def replace(module, inputs, output):
        theirs = official_ratings[next(order)][None]
        errors.append(float((output - theirs).abs().max()))
        return theirs

    rating.register_forward_hook(replace)
    ranked = adapter.predict(clip)
    print(f"ratings of the proposals differ by at most {max(errors):.1e}")
    print("expression frame       area  smallest gap of ranks      IoU, as it is  IoU, official ranks")
    for e, (t, name) in ((e, f) for e in range(len(EXPRESSIONS)) for f in enumerate(clip.frames)):
        mask = np.asarray(Image.open(o.out / "Annotations/clip" / str(e) / f"{name}.png")) > 127
        masks = [np.asarray(p[str(e)].masks[t]) > 127 for p in (plain, ranked)]
        iou = [(mask & m).sum() / max((mask | m).sum(), 1) if (mask | m).any() else 1.0 for m in masks]
        best = official_ratings[e * len(o.paths) + t][:, 0].topk(901).values
        gap = float((best[:-1] - best[1:]).min())
        print(f"{e:10} {name:10} {mask.mean():5.1%} {gap:22.1e} {iou[0]:17.6f} {iou[1]:20.6f}")


def print_time(side: str, seconds: float, frames: int) -> None:
    """Prints CPU seconds per frame and expression."""
    each = seconds / frames / len(EXPRESSIONS)
    print(f"{side:9} {each:6.2f} CPU seconds per frame and expression, {torch.get_num_threads()} threads", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="folder of the clone of MasterBin-IIAU/UNINEXT")
    parser.add_argument("pictures", type=Path, help="folder with the JPEG frames of a clip")
    parser.add_argument("--backbone", choices=CONFIGS, default="resnet50")
    parser.add_argument("--frames", type=int, default=4, help="number of frames, spread over the clip")
    parser.add_argument("--short-side", type=int, default=480)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    import_torchvision()
    o.checkout, o.pictures = o.checkout.resolve(), o.pictures.resolve()
    paths = sorted(o.pictures.glob("*.jpg"))
    o.paths = [paths[i] for i in np.linspace(0, len(paths) - 1, o.frames).astype(int)]
    if o.out is not None:
        official(o)
        return
    with tempfile.TemporaryDirectory() as folder:
        here = Path(__file__).resolve().parents[1]
        options = [f"--{k.replace('_', '-')}={getattr(o, k)}" for k in ("backbone", "frames", "short_side", "threads")]
        command = ["-W", "ignore", "-m", "benchmarks.official_uninext", o.checkout, o.pictures, f"--out={folder}"]
        environment = os.environ | {"PYTHONPATH": str(here)}
        subprocess.run([sys.executable, *map(str, command), *options], cwd=folder, env=environment, check=True)
        o.out = Path(folder)
        ours(o)


if __name__ == "__main__":
    main()
