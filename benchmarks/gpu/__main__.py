"""Everything that a GPU must show, in one command of less than eight minutes.

    python -m benchmarks.gpu --out OUT [--official CHECKOUT] [--sections aot models ...]
    python -m benchmarks.gpu --out OUT --rehearse          tiny sizes on the CPU: every line but those of CUDA itself

Writes OUT/gpu.md, tables for docs/benchmarks.md, and OUT/gpu.json; OUT/SECTION.log has what a section printed. Needs
what the package needs, and nothing from the network: random weights of the published sizes, and the trained ones that
come with the package. Every section runs in a process of its own with a time budget, so that one that fails costs its
own rows only.

Masks are compared with those of the same network in float32 on the CPU. `IoU` is the mean over sequences and frames.
Random weights leave most pixels without a clear winner, so that their IoU in bf16 and fp16 is a lower bound.

Exit codes: 0 every section did all it should; 1 some failed; 2 there is no CUDA device.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.gpu.rows import Rows, table
from benchmarks.gpu.sections import REHEARSAL, SECTIONS, command, supervise, work_of

SECONDS = 460  # for everything


def main(arguments: list[str] | None = None) -> int:
    """Runs all sections, or one in this process; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="a folder for the results")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--official", type=Path, help="a checkout of yoxu515/aot-benchmark")
    parser.add_argument("--sections", nargs="+", default=[*SECTIONS], choices=[*SECTIONS])
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for everything")
    parser.add_argument("--section", choices=[*SECTIONS], help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args(arguments)
    if a.section:
        work_of(a.section, Rows(a.rows), a.rehearse, a.official)
        return 0
    import torch

    if not a.rehearse and not torch.cuda.is_available():
        print("error: no CUDA device here; --rehearse tries everything on the CPU in tiny sizes", file=sys.stderr)
        return 2
    from benchmarks.gpu.machine import Machine

    a.out.mkdir(parents=True, exist_ok=True)
    start = command(a.rehearse, a.official and a.official.resolve())
    left, budget = (REHEARSAL * len(a.sections), REHEARSAL) if a.rehearse else (a.seconds, None)
    results = supervise(a.sections, a.out.resolve(), start, left, budget)
    about = Machine("cpu" if a.rehearse else "cuda", a.rehearse).about()
    (a.out / "gpu.json").write_text(json.dumps({"about": about, "sections": results}, indent=1), encoding="utf-8")
    (a.out / "gpu.md").write_text(page(about, results), encoding="utf-8")
    print(page(about, results))
    return 1 if any(result["failed"] for result in results.values()) else 0


def page(about: dict, results: dict) -> str:
    """The tables of all sections in markdown."""
    parts = [", ".join(f"{key} {value}" for key, value in about.items())]
    for name, result in results.items():
        parts.append(f"### {SECTIONS[name].title}")
        if result["rows"]:
            parts.append(table(result["rows"]))
        if result["failed"]:
            parts.append("Failed:\n" + "\n".join(f"- {line}" for line in result["failed"]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
