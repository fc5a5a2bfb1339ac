"""SAM 2 and SAM 3's tracker: this package against transformers, time for 1 and 12 sequences of a clip, bounded memory.

    python -m benchmarks.propagate_sam [--networks tiny sam2_tiny sam2_large sam3] [--frames 9] [--threads 2]
    python -m benchmarks.propagate_sam --steady [--networks sam2_tiny] [--sequences 1 4]
    python -m benchmarks.propagate_sam --long 1000 [--networks tiny]

Both sides use the same network of transformers with seeded random weights. Twelve sequences: one object and one key
frame each, 480x854, both directions. Our side is `propagate` as a recipe calls it, from images to soft masks.
Transformers runs one session per object and direction, as its users must (objects with key frames on different frames
disturb each other in one session), from images to masks; only `--measured` of the twelve run there, and the others are
assumed to take the same time per frame.

A long clip: one sequence from frame 0, the memory of the process and of what each side remembers.

Times are in wall-clock seconds and in CPU seconds, which other load on the machine affects less.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn

from benchmarks.propagate import Blobs, Clock, find_propagator
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Frame, Propagator
from rvos_ensemble.propagators.inference.sam.memory.bank import MemoryFrame

SIZE = (480, 854)
TINY = 128  # pixels


def tiny() -> nn.Module:
    """SAM 2 at 128 pixels with 128 channels."""
    side = [[TINY // s] * 2 for s in (4, 8, 16)]
    backbone = dict(
        model_type="sam2_hiera_det_model",
        hidden_size=12,
        num_attention_heads=1,
        image_size=[TINY, TINY],
        blocks_per_stage=[1, 2, 7, 2],
        embed_dim_per_stage=[12, 24, 48, 96],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 14, 7],
        global_attention_blocks=[5, 7, 9],
        window_positional_embedding_background_size=[7, 7],
    )
    channels = [96, 48, 24, 12]
    vision = dict(
        model_type="sam2_vision_model",
        backbone_config=backbone,
        backbone_channel_list=channels,
        backbone_feature_sizes=side,
        fpn_hidden_size=128,
    )
    config = transformers.Sam2VideoConfig(
        image_size=TINY,
        vision_config=vision,
        prompt_encoder_config=dict(hidden_size=128, image_size=TINY, mask_input_channels=8),
        mask_decoder_config=dict(hidden_size=128, num_attention_heads=4, mlp_dim=64, iou_head_hidden_dim=32),
        memory_attention_hidden_size=128,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_num_layers=2,
        memory_attention_rope_feat_sizes=side[2],
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
    )
    return transformers.Sam2VideoModel(config)


def large() -> nn.Module:
    """SAM 2 with the image encoder Hiera-L at 1024 pixels."""
    backbone = dict(
        model_type="sam2_hiera_det_model",
        hidden_size=144,
        num_attention_heads=2,
        blocks_per_stage=[2, 6, 36, 4],
        embed_dim_per_stage=[144, 288, 576, 1152],
        num_attention_heads_per_stage=[2, 4, 8, 16],
        window_size_per_stage=[8, 4, 16, 8],
        global_attention_blocks=[23, 33, 43],
        window_positional_embedding_background_size=[7, 7],
    )
    channels = [1152, 576, 288, 144]
    vision = dict(model_type="sam2_vision_model", backbone_config=backbone, backbone_channel_list=channels)
    return transformers.Sam2VideoModel(transformers.Sam2VideoConfig(vision_config=vision))


NETWORKS = {
    "tiny": tiny,
    "sam2_tiny": lambda: transformers.Sam2VideoModel(transformers.Sam2VideoConfig()),
    "sam2_large": large,
    "sam3": lambda: transformers.Sam3TrackerVideoModel(transformers.Sam3TrackerVideoConfig()),
}


def kind_of(name: str) -> str:
    """The propagator that runs a network."""
    return "sam3" if name == "sam3" else "sam2"


def written(name: str, folder: Path) -> str:
    """Writes a network with seeded random weights, as users have it; returns the propagator that runs it."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    for parameter in network.parameters():
        if not parameter.any():  # initialised to 0: without these, memories would carry no place in time
            nn.init.normal_(parameter, std=0.02)
    network.save_pretrained(folder / name)
    return kind_of(name)


def made(name: str, folder: Path, batch: int | None = None) -> Propagator:
    """The propagator with a network with seeded random weights."""
    return find_propagator(folder / name, written(name, folder), device="cpu", batch=batch)


def sequences(blobs: Blobs, number: int) -> list[dict[int, np.ndarray]]:
    """{key frame: mask} of every sequence; key frames are spread over the clip."""
    keys = [int(i * blobs.length / number) for i in range(number)]
    return [{key: blobs.labels(key) == i % blobs.objects + 1} for i, key in enumerate(keys)]


def run_ours(propagator: Propagator, blobs: Blobs, chosen: list[dict[int, np.ndarray]]) -> list[MaskSequence]:
    """All sequences in both directions."""
    tasks = []
    for masks in chosen:
        ((key, mask),) = masks.items()
        dense = (mask if t == key else np.zeros_like(mask) for t in range(blobs.length))
        tasks.append(PropagationTask(MaskSequence.binary(dense), (key,)))
    return propagate(blobs.clip(), tasks, propagator)


def run_plain(propagator: Propagator, blobs: Blobs, chosen: list[dict[int, np.ndarray]]) -> None:
    """All sequences in both directions, each in sessions of its own."""
    from tests.helpers import plain_sam

    network, kind = propagator.model.network.model, propagator.kind
    pixels = plain_sam.processed(
        np.stack([blobs.read(t) for t in range(blobs.length)]), network.config.image_size, kind
    )
    for masks in chosen:
        for reverse in (False, True):
            for _, logits, _ in plain_sam.track(network, kind, pixels, SIZE, masks, reverse):
                plain_sam.video_masks(logits, SIZE)


def compare(name: str, propagator: Propagator, frames: int, number: int, measured: int) -> None:
    """Prints the times of both sides for a clip; the sequences that transformers runs are spread over the clip."""
    blobs, ours, plain = Blobs(SIZE, frames, 4), Clock(), Clock()
    chosen = sequences(blobs, number)
    some = [chosen[i] for i in np.linspace(0, number - 1, min(measured, number)).round().astype(int)]
    run_ours(propagator, Blobs(SIZE, 2, 4), sequences(Blobs(SIZE, 2, 4), 1))  # warms both sides up
    ours(lambda: run_ours(propagator, blobs, chosen))
    plain(lambda: run_plain(propagator, blobs, some))
    theirs, own = plain.best() * number / len(some), ours.best()
    print(
        f"{name:10} {number:2} sequences, {frames} frames: transformers {theirs[0]:8.2f} s, ours {own[0]:8.2f} s, "
        f"{theirs[0] / own[0]:.2f}x (CPU {theirs[1]:.2f} and {own[1]:.2f}, {theirs[1] / own[1]:.2f}x)",
        flush=True,
    )


def steady(name: str, propagator: Propagator, number: int) -> None:
    """Prints the time of one frame once memories are full (7 memories, 16 pointers, random numbers)."""
    from tests.helpers import plain_sam

    network, blobs, ours, plain = propagator.model.network, Blobs(SIZE, 17, 1), Clock(), Clock()
    sweep = propagator.for_clip(17, [""]).sweep(SIZE, number)
    tokens, channels = len(network.constants.memory_position), network.model.hidden_dim
    entries = [MemoryFrame(t, torch.randn(channels), torch.randn(tokens, 64).bfloat16()) for t in range(16)]
    for i in range(number):
        sweep.banks[i] = propagator.model.bank()
        sweep.banks[i].conditioning, sweep.banks[i].recent = entries[:1], entries[1:]
    session = plain_sam.session(network.model, propagator.kind, torch.zeros(17, 1), SIZE)
    position = network.constants.memory_position[:, None]
    for entry in entries:
        output = {"maskmem_features": entry.features[:, None], "maskmem_pos_enc": position}
        output["object_pointer"] = entry.pointer[None, None][0]
        session.store_output(0, entry.t, output_value=output, is_conditioning_frame=entry.t == 0)
    session.processed_frames[16] = plain_sam.processed(blobs.read(16)[None], network.image_size, propagator.kind)[0]
    for _ in range(2):  # the first round warms both sides up
        sweep.latest = None  # what the last round yielded is not remembered
        ours(lambda: [np.asarray(mask) for mask in sweep.step(Frame(16, blobs.read(16)), {}).values()])
        session.cache.clear_all()
        plain(lambda: plain_sam.video_masks(network.model(session, frame_idx=16).pred_masks, SIZE))
    theirs, own = plain.best() * number, ours.best()
    print(
        f"{name:10} {number:2} sequences, one frame with full memories: transformers {theirs[0]:.2f} s, "
        f"ours {own[0]:.2f} s, {theirs[0] / own[0]:.2f}x (CPU {theirs[1]:.2f} and {own[1]:.2f}, "
        f"{theirs[1] / own[1]:.2f}x)",
        flush=True,
    )


def long_clip(name: str, propagator: Propagator, frames: int) -> None:
    """Prints the memory of both sides while a clip is propagated from its first frame."""
    from tests.helpers import plain_sam

    blobs, network = Blobs(SIZE, frames, 1), propagator.model.network
    mask = {0: blobs.labels(0) == 1}
    print(f"{name}, {frames} frames of 480x854, one sequence: memory of the process, and of what is remembered, MiB")
    sweep = propagator.for_clip(frames, [""]).sweep(SIZE, 1)
    start = resident()
    for t in range(frames):
        np.asarray(sweep.step(Frame(t, blobs.read(t)), mask if t == 0 else {})[0])
        if t in marks(frames):
            print(f"  ours         frame {t:4d}: +{resident() - start:6.1f}, {sweep.nbytes / 2**20:7.2f}", flush=True)
    session = plain_sam.session(network.model, propagator.kind, None, SIZE)
    start = resident()
    for t in range(frames):  # streaming: even the frames are not given in advance
        if t == 0:
            session.add_mask_inputs(0, 0, plain_sam.prompt(mask[0], network.image_size))
            session.obj_with_new_inputs = [1]
        pixels = plain_sam.processed(blobs.read(t)[None], network.image_size, propagator.kind)[0]
        network.model(session, frame=pixels, frame_idx=t)
        if t in marks(frames):
            kept = sum(x.nbytes for x in tensors(session.output_dict_per_obj)) / 2**20
            print(f"  transformers frame {t:4d}: +{resident() - start:6.1f}, {kept:7.2f}", flush=True)


def marks(frames: int) -> set[int]:
    """The frames at which memory is printed."""
    return {int(frames * n / 5) - 1 for n in range(1, 6)} | {min(20, frames - 1)}


def tensors(value: object) -> Iterator[torch.Tensor]:
    """All tensors in nested tables."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from tensors(member)


def resident() -> float:
    """Memory of the process, MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["tiny", "sam2_tiny"], choices=NETWORKS)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 12])
    parser.add_argument("--measured", type=int, default=3, help="sequences of the twelve that run on transformers")
    parser.add_argument("--batch", type=int, help="sequences per forward pass on our side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steady", action="store_true", help="measure one frame with full memories instead of a clip")
    parser.add_argument("--long", type=int, help="frames of a long clip")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            propagator = made(name, Path(folder), options.batch)
            if options.long:
                long_clip(name, propagator, options.long)
                continue
            for number in options.sequences:
                if options.steady:
                    steady(name, propagator, number)
                else:
                    compare(name, propagator, options.frames, number, options.measured)


if __name__ == "__main__":
    main()
