"""Writes the golden masks of `tests/adapters/test_uninext_odd_sizes.py` with UNINEXT's official code.

    git clone https://github.com/MasterBin-IIAU/UNINEXT CHECKOUT
    pip install einops timm torchvision fvcore iopath yacs tabulate termcolor hydra-core
    python -m benchmarks.official_uninext_golden CHECKOUT tests/adapters/golden/uninext_odd_sizes.npz

The official network is built with ConvNeXt-Tiny, two layers and 100 queries, with random weights, and runs in 64-bit
arithmetic on frames whose sizes are no multiples of 32. For each size the file has `scores_HxW` [100], `best_HxW`,
the query with the highest score, and `mask_HxW`, its logits [h4, w4].
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.official_uninext import BERT, import_torchvision, register_substitutes


def official_network(checkout: Path) -> torch.nn.Module:
    """The official network in small, with random weights, in 64-bit arithmetic. Works in the current folder."""
    from tests.helpers.fanin import fill
    from tests.helpers.odd_frames import SMALL
    from tests.helpers.tiny_tokenizers import bert_folder

    sys.path[:0] = [str(checkout), str(checkout / "projects/UNINEXT")]
    register_substitutes()
    from detectron2.config import get_cfg
    from detectron2.modeling import META_ARCH_REGISTRY
    from transformers import BertConfig, BertModel
    from uninext import add_uninext_config

    words = len((bert_folder(BERT) / "vocab.txt").read_text().splitlines())
    BertModel(BertConfig(vocab_size=words, num_hidden_layers=1), add_pooling_layer=False).save_pretrained(BERT)
    config = get_cfg()
    add_uninext_config(config)
    config.merge_from_file(
        str(checkout / "projects/UNINEXT/configs/eval-vid/video_joint_convnext_large_eval_rvos.yaml")
    )
    config.MODEL.DEVICE, config.OUTPUT_DIR = "cpu", "out"
    config.MODEL.CONVNEXT.NAME = "tiny"
    config.MODEL.DDETRS.NUM_OBJECT_QUERIES = config.MODEL.DDETRS.TWO_STAGE_NUM_PROPOSALS = SMALL.queries
    config.MODEL.DDETRS.ENC_LAYERS, config.MODEL.DDETRS.DEC_LAYERS = SMALL.encoder_layers, SMALL.layers
    return fill(META_ARCH_REGISTRY.get(config.MODEL.META_ARCHITECTURE)(config)).double()


@torch.no_grad()
def golden(network: torch.nn.Module, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The official scores and the mask with the highest score, for one frame."""
    from tests.helpers.odd_frames import frame, words

    hidden = torch.from_numpy(words()).double()
    text = {"hidden": hidden, "masks": torch.ones(hidden.shape[:2], dtype=torch.int64)}
    images = network.preprocess_video([{"image": [torch.from_numpy(frame(size)).permute(2, 0, 1).double()]}])
    out, _ = network.detr.coco_inference(images, None, None, language_dict_features=text, task="grounding")
    scores = (out["pred_logits"].sigmoid() * out["pred_boxious"].sigmoid()).sqrt()[0, :, 0]
    best = int(scores.argmax())
    name = "{}x{}".format(*size)
    return {
        f"scores_{name}": scores.float().numpy(),
        f"best_{name}": np.array(best),
        f"mask_{name}": out["pred_masks"][0, best, 0].float().numpy(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="folder of the clone of MasterBin-IIAU/UNINEXT")
    parser.add_argument("out", type=Path, help="the file to write")
    o = parser.parse_args()
    checkout, out = o.checkout.resolve(), o.out.resolve()
    import_torchvision()
    from tests.helpers.odd_frames import SIZES_OF_FRAMES

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the official code reads BERT from a path relative to the current folder
        network = official_network(checkout)
        arrays = {key: value for size in SIZES_OF_FRAMES for key, value in golden(network, size).items()}
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main()
