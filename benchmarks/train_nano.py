"""Trains the small networks of this package from scratch, and writes the files that are shipped.

    python -m benchmarks.train_nano OUT [NAME ...] [--at-once 2] [--real REAL]

Without names it trains all networks; those for real video only with `--real`, a folder made by `benchmarks.real_data`.
Each stage is one `run_ensemble.py train` with one thread, in its own folder below
OUT; the same command resumes after an interruption. Shipped networks are written to OUT/NAME.safetensors, with a model
card OUT/NAME.md; the results of `python -m benchmarks.sentences` are added by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble.report.training import metrics_of, read_log

ROOT = Path(__file__).parents[1]
IMAGE_MODEL = "backbone_lr=0.3 expressions=4 clip=1.0 validate_clips=16"
VIDEO_MODEL = "variant=video_swin_nano backbone_lr=0.5 clip=1.0 validate_clips=16 frames=6 batch=2"
STATIC_CLIPS = "static=1.0 steps=2000 lr=1.5e-3 frames=3 size=[97,145] places=1"
VIDEO_CLIPS = "static=0.1 lr=1e-3 encoder_lr=1 freeze_bn=false frames=4 size=[145,225] places=1 mining=0.8"
URVOS_NANO = (
    "variant=urvos_nano size=[96,160] sentences=4 freeze_bn=false backbone_lr=0.3 optimizer=adamw weight_decay=0.01"
    " clip=1.0 ema=0.05"
)
GROUNDING_NANO = "size=[90,160] dropout=0 looks=3 sentences=12 batch=4 lr=1e-3 drops=[0.75] drop=0.2"

REAL_CLIPS = (  # REAL is the folder of `--real`
    "data=REAL/video pictures=REAL/pictures validation=REAL/val/valid collage=0.15 shapes=0.1 merge=0.5 widest=3"
    " window=0.3 twins=0.3 light=0.5 blur=0.3 compression=0.3 places=1 encoder_lr=0.15 warmup=0.04"
)
REAL_PICTURES = f"{REAL_CLIPS} static=0.5 own=1 reference_until=0.3 frames=4 batch=4 lr=1e-3 ema=0.06"
REAL_VIDEO = f"{REAL_CLIPS} static=0.15 own=1 reference=0 frames=5 batch=4 lr=6e-4 ema=0.08 seed=1"
REAL_LONG = f"{REAL_CLIPS} static=0.15 own=0 reference=0 frames=9 batch=2 lr=3e-4 ema=0.1 seed=2"

CANDIDATES = "data=REAL/video pictures=REAL/pictures validation=REAL/val/valid"

JUDGE_NANO = "variant=judge_nano size=[90,160] dropout=0 looks=3 batch=4 ema=0.05 held_out=30"


@dataclass(frozen=True)
class TrainingStage:
    """One training run.

    Attributes:
        arguments: of the command `train`.
        after: {setting: earlier stage whose weights are its value}.
    """

    arguments: str
    after: dict[str, str] = field(default_factory=dict)

    @property
    def real(self) -> bool:
        """Whether it is trained on real video, the folder REAL."""
        return "REAL/" in self.arguments

    def command(self) -> str:
        """The command, with the names of earlier stages in place of their folders."""
        weights = [f"{setting}={stage.upper()}/weights.pth" for setting, stage in self.after.items()]
        return shlex.join(["python", "run_ensemble.py", "train", *self.arguments.split(), *weights])


STAGES = {
    "pretrained_resnet": TrainingStage("backbone=resnet_nano steps=1700"),
    "pretrained_convnext_1": TrainingStage("backbone=convnext_nano steps=1700"),
    "pretrained_convnext": TrainingStage(
        "backbone=convnext_nano steps=2000 seed=1", {"pretrained": "pretrained_convnext_1"}
    ),
    "soc_frames": TrainingStage(
        f"segmenter=soc {IMAGE_MODEL} frames=1 batch=8 steps=5000 lr=1.5e-3 warmup=0.02 ema=0.06 seed=1",
        {"pretrained": "pretrained_resnet"},
    ),
    "soc_clips": TrainingStage(
        f"segmenter=soc {IMAGE_MODEL} frames=4 batch=2 steps=3000 lr=1e-3 warmup=0.03 ema=0.08 seed=2",
        {"weights": "soc_frames"},
    ),
    "soc_video": TrainingStage(
        "segmenter=soc variant=video_swin_nano frames=4 expressions=4 batch=2 steps=1600 lr=2e-3 warmup=0.04 clip=1.0"
        " ema=0.05 validate_clips=16 seed=4",
        {"teacher": "soc_clips"},
    ),
    "soc_first": TrainingStage(
        f"segmenter=soc {VIDEO_MODEL} expressions=4 steps=2400 lr=1.2e-3 warmup=0.03 ema=0.08 seed=5",
        {"weights": "soc_video"},
    ),
    "soc_nano": TrainingStage(
        f"segmenter=soc {VIDEO_MODEL} expressions=6 steps=3600 lr=1.2e-3 warmup=0.03 ema=0.08 seed=7",
        {"weights": "soc_first"},
    ),
    "referformer_nano": TrainingStage(
        f"segmenter=referformer {VIDEO_MODEL} expressions=6 steps=3000 lr=1.2e-3 warmup=0.03 ema=0.08 seed=8",
        {"pretrained": "soc_first"},
    ),
    "mutr_first": TrainingStage(
        f"segmenter=mutr {IMAGE_MODEL} frames=4 batch=2 steps=2000 lr=1.2e-3 warmup=0.03 ema=0.08 seed=4",
        {"pretrained": "soc_clips"},
    ),
    "mutr_nano": TrainingStage(
        f"segmenter=mutr {IMAGE_MODEL} frames=4 batch=2 steps=1800 lr=1e-3 warmup=0.03 ema=0.08 seed=6",
        {"weights": "mutr_first"},
    ),
    "uninext_first": TrainingStage(
        "segmenter=uninext frames=1 expressions=4 steps=4000 batch=8 lr=1e-3 warmup=0.02 ema=0.06 seed=1",
        {"pretrained": "pretrained_convnext"},
    ),
    "uninext_nano": TrainingStage(
        "segmenter=uninext frames=1 expressions=6 clip=1.0 validate_clips=16 steps=3600 batch=8 lr=1e-3 warmup=0.03"
        " ema=0.08 seed=2",
        {"weights": "uninext_first"},
    ),
    "urvos_frames": TrainingStage(
        f"segmenter=urvos {URVOS_NANO} frames=1 batch=8 alone=1 steps=1500 lr=1.5e-3 seed=1",
        {"weights": "pretrained_resnet"},
    ),
    "urvos_nano": TrainingStage(
        f"segmenter=urvos {URVOS_NANO} frames=3 batch=3 alone=0 own=0.3 steps=500 lr=1e-3 warmup=0.03 seed=2",
        {"weights": "urvos_frames"},
    ),
    "aot_pictures": TrainingStage(f"propagator=aot {STATIC_CLIPS}"),
    "aot_nano": TrainingStage(f"propagator=aot {VIDEO_CLIPS} steps=1700", {"weights": "aot_pictures"}),
    "deaot_pictures": TrainingStage(f"propagator=deaot {STATIC_CLIPS}"),
    "deaot_nano": TrainingStage(f"propagator=deaot {VIDEO_CLIPS} steps=1300", {"weights": "deaot_pictures"}),
    "aot_real_pictures": TrainingStage(
        f"propagator=aot variant=aot_real {REAL_PICTURES} steps=1200 weights=REAL/mobilenetv2.pth"
    ),
    "aot_real_video": TrainingStage(
        f"propagator=aot variant=aot_real {REAL_VIDEO} steps=1500", {"weights": "aot_real_pictures"}
    ),
    "aot_real": TrainingStage(f"propagator=aot variant=aot_real {REAL_LONG} steps=800", {"weights": "aot_real_video"}),
    # DeAOT starts from the encoder that AOT has trained, and needs half the steps
    "deaot_real_pictures": TrainingStage(
        f"propagator=deaot variant=deaot_real {REAL_PICTURES} steps=600 encoder_only=true",
        {"weights": "aot_real_video"},
    ),
    "deaot_real_video": TrainingStage(
        f"propagator=deaot variant=deaot_real {REAL_VIDEO} steps=900", {"weights": "deaot_real_pictures"}
    ),
    "deaot_real": TrainingStage(
        f"propagator=deaot variant=deaot_real {REAL_LONG} steps=600", {"weights": "deaot_real_video"}
    ),
    "candidates_first": TrainingStage(
        f"candidates {CANDIDATES} size=[192,320] batch=8 steps=4000 lr=1.5e-3 warmup=0.03 ema=0.05"
        " weights=REAL/mobilenetv2.pth"
    ),
    "candidates_real": TrainingStage(
        f"candidates {CANDIDATES} size=[192,320] batch=8 steps=900 lr=1.2e-3 warmup=0.03 ema=0.1",
        {"weights": "candidates_first"},
    ),
    "grounding_nano": TrainingStage(f"grounding variant=grounding_nano {GROUNDING_NANO} steps=4000"),
    "grounding_nano_1": TrainingStage(f"grounding variant=grounding_nano {GROUNDING_NANO} steps=2000 seed=1"),
    "grounding_match_nano": TrainingStage(f"grounding variant=grounding_match_nano {GROUNDING_NANO} steps=2000"),
    "judge_nano": TrainingStage(f"judge {JUDGE_NANO} lr=1e-3 steps=3000 warmup=0.02", {"weights": "grounding_nano"}),
}


def needed(names: Iterable[str]) -> list[str]:
    """The stages that networks need, in the order in which they run."""
    stages: dict[str, None] = {}
    for name in names:
        stages |= dict.fromkeys([*needed(STAGES[name].after.values()), name])
    return list(stages)


def train(name: str, out: Path, real: Path | None = None) -> None:
    """Runs a stage whose earlier stages are complete; a complete stage ends immediately.

    Args:
        name: of the stage.
        out: folder of all stages.
        real: folder with real video, for stages that are trained on it.

    Raises:
        RuntimeError: the stage failed; its messages are in OUT/NAME.log.
    """
    stage = STAGES[name]
    weights = [f"{setting}={out / earlier / 'weights.pth'}" for setting, earlier in stage.after.items()]
    arguments = stage.arguments.replace("REAL/", f"{real}/").split()
    commands = [["train", *arguments, *weights, f"out={out / name}"]]
    shipped = name.endswith(("_nano", "_nano_1", "_real"))
    if shipped:
        commands.append(["weights", "export", str(out / name / "weights.pth"), str(out / f"{name}.safetensors")])
    print(f"{name}: {stage.command()}", flush=True)
    with open(out / f"{name}.log", "ab") as log:
        for command in commands:
            done = subprocess.run(
                [sys.executable, "run_ensemble.py", *command],
                cwd=ROOT,
                env=os.environ
                | {"OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"},  # large pages reduce page faults
                stdout=log,
                stderr=log,
            )
            if done.returncode:
                raise RuntimeError(
                    f"{name} failed (exit code {done.returncode}), see {log.name}; stages that need it were not started"
                )
    if shipped:
        atomic_write(out / f"{name}.md", card(name, out, real))
    print(f"{name}: done", flush=True)


def card(name: str, out: Path, real: Path | None = None) -> str:
    """The model card of a shipped network in Markdown: command, minutes and metrics of every stage, and its data."""
    stages = needed([name])
    rows, minutes = [], []
    for i, stage in enumerate(stages, start=1):
        last = read_log(out / stage)[-1]
        minutes.append(round(last["seconds"] / 60))
        metrics = ", ".join(f"{k} {v}" for k, v in metrics_of(last).items())
        label = f"Command {i}" + (f" ({stage.upper()})" if stage != name else "")
        rows.append((label, f"`{STAGES[stage].command()}`" + (f": {metrics} (validation)" if metrics else "")))
    facts = dict(re.findall(r"^\| (\w+) \| (.*) \|$", (out / name / "card.md").read_text("utf-8"), re.MULTILINE))
    size = (out / f"{name}.safetensors").stat().st_size / 1e6
    on_real = STAGES[name].real
    rows += [
        ("All stages", f"`python -m benchmarks.train_nano OUT {name}{' --real REAL' if on_real else ''}`"),
        ("Trained", facts["Trained"] + (", the encoder from ImageNet" if on_real else ", from scratch")),
        ("Time", " + ".join(map(str, minutes)) + f" = {sum(minutes)} minutes"),
        ("Machine", facts["Machine"]),
        ("Data", "see below, and `shapes`" if on_real else "`shapes`, split train, rendered on the fly"),
        ("Parameters", f"{facts['Parameters']}, fp16, {size:.1f} MB"),
    ]
    table = "".join(f"| {key} | {value} |\n" for key, value in rows)
    sources = "\n" + (real / "sources.md").read_text("utf-8") if on_real else ""
    return f"# {name}\n\n| | |\n|---|---|\n{table}{sources}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(STAGES)}")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="number of parallel stages, one core each")
    parser.add_argument("--real", type=Path, metavar="REAL", help="a folder made by benchmarks.real_data")
    options = parser.parse_args()
    if unknown := sorted({*options.names} - {*STAGES}):
        parser.error(f"no stage {', '.join(unknown)}, expected {', '.join(STAGES)}")
    names = options.names or [name for name, stage in STAGES.items() if options.real or not stage.real]
    if not options.real and (real := [name for name in names if STAGES[name].real]):
        parser.error(f"{', '.join(real)}: trained on real video, expected --real REAL, see benchmarks.real_data")
    real = options.real and options.real.resolve()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    running: dict[str, Future] = {}

    def run(name: str) -> None:
        for earlier in STAGES[name].after.values():
            running[earlier].result()  # earlier stages come first in the queue
        train(name, out, real)

    with ThreadPoolExecutor(options.at_once) as pool:
        for name in needed(names):
            running[name] = pool.submit(run, name)
    problems = [str(e) for e in (future.exception() for future in running.values()) if e]
    if problems:
        sys.exit("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    main()
