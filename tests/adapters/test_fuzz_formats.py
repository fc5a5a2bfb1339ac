"""Mutated files of every format: the result is right, or a clear error; and run lengths against pycocotools."""

import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.readers import coco_rle

# of pycocotools 2.0.11 under numpy 2.4; harmless
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HERE = Path(__file__).parents[1] / "helpers"
SLOW_CASE = 10  # seconds; a longer case counts as hanging
START = 120  # seconds for the imports and samples of a worker


class Worker:
    """A process that runs cases one by one and reports each; it may crash or hang."""

    def __init__(self, folder: Path, first: int, last: int):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                str(HERE / "fuzz_formats.py"),
                str(folder),
                str(first),
                str(last),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])},
        )
        self.buffer = b""

    def line(self, seconds: float) -> dict | None:
        """The next line; None at its end."""
        until = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            block = os.read(self.process.stdout.fileno(), 1 << 16)
            if not block:
                return None
            self.buffer += block
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def end(self) -> int:
        self.process.kill()
        self.process.stdout.close()
        return self.process.wait()


def run_cases(folder: Path, first: int, last: int) -> list[dict]:
    """The result of every case; after a case that crashes or hangs its process, a new process continues."""
    results = []
    while first < last:
        worker, patience = Worker(folder, first, last), START
        case = {"case": first, "format": "?", "how": "?"}
        try:
            while (line := worker.line(patience)) is not None:
                if "start" in line:
                    case = {"case": line["start"], "format": line["format"], "how": "?"}
                else:
                    results.append(line)
                    first = line["case"] + 1
                patience = START if line.get("first") else SLOW_CASE
        except TimeoutError:
            worker.end()
            results.append({**case, "class": "hang", "message": f"longer than {SLOW_CASE} s"})
            first = case["case"] + 1
            continue
        code = worker.end()
        if first < last:
            results.append({**case, "class": "crash", "message": f"exit code {code}"})
            first = case["case"] + 1
    return results


def table(results: list[dict]) -> str:
    classes = ["right", "clear error", *sorted({row["class"] for row in results} - {"right", "clear error"})]
    counts = Counter((row["format"], row["class"]) for row in results)
    lines = [f"{'format':24}" + "".join(f"{c:>13}" for c in classes)]
    for form in dict.fromkeys(row["format"] for row in results):
        lines.append(f"{form:24}" + "".join(f"{counts[form, c]:13}" for c in classes))
    total = Counter(row["class"] for row in results)
    return "\n".join([*lines, f"{'all':24}" + "".join(f"{total[c]:13}" for c in classes)])


def expect_right_or_clear(results: list[dict]) -> None:
    print("\n" + table(results))
    bad = [row for row in results if row["class"] not in ("right", "clear error")]
    assert not bad, "\n".join(map(str, bad[:10]))


def test_some_mutations_of_every_format(tmp_path):
    results = run_cases(tmp_path, 0, 120)
    assert len(results) == 120
    expect_right_or_clear(results)


@pytest.mark.slow
def test_mutations_of_every_format(tmp_path):
    results = run_cases(tmp_path, 1000, 3000)
    assert len(results) == 2000 and len({row["format"] for row in results}) >= 20
    expect_right_or_clear(results)


def test_the_harness_sees_crashes_and_hangs(tmp_path, monkeypatch):
    """A worker that crashes in case 1 and hangs in case 2 is replaced; both cases are reported."""
    script = tmp_path / "fuzz_formats.py"
    script.write_text(
        "import json, os, sys, time\n"
        "for n in range(int(sys.argv[2]), int(sys.argv[3])):\n"
        "    print(json.dumps({'start': n, 'format': 'f'}), flush=True)\n"
        "    n == 1 and os.abort()\n"
        "    n == 2 and time.sleep(60)\n"
        "    print(json.dumps({'case': n, 'format': 'f', 'how': 'x', 'class': 'right', 'message': ''}), flush=True)\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "HERE", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "SLOW_CASE", 1)
    results = run_cases(tmp_path, 0, 5)
    assert [(row["case"], row["class"]) for row in results] == [
        (0, "right"),
        (1, "crash"),
        (2, "hang"),
        (3, "right"),
        (4, "right"),
    ]


# Run lengths


def reference(counts, pixels: int) -> list[int] | None:
    """The runs of a mask in exact arithmetic, as COCO's `rleFrString` reads them; None if they are invalid."""
    if isinstance(counts, str):
        runs, i = [], 0
        while i < len(counts):
            value, k, more = 0, 0, True
            while more:
                if i == len(counts) or not 48 <= ord(counts[i]) <= 111:
                    return None
                code = ord(counts[i]) - 48
                value |= (code & 31) << (5 * k)
                more, i, k = bool(code & 32), i + 1, k + 1
                if not more and code & 16:
                    value -= 1 << (5 * k)
            if k > 6:
                return None
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    else:
        runs = counts
    exact = all(type(n) is int and 0 <= n <= pixels for n in runs)
    return runs if exact and sum(runs) == pixels and len(runs) <= 2 * pixels + 2 else None


def compress(runs: list[int]) -> str:
    """COCO's `rleToString`."""
    out = []
    for i, value in enumerate(runs):
        value -= runs[i - 2] if i > 2 else 0
        more = True
        while more:
            code, value = value & 31, value >> 5
            more = value != -1 if code & 16 else value != 0
            out.append(chr(48 + (code | 32 * more)))
    return "".join(out)


def expect_exact(counts, size: tuple[int, int]) -> None:
    """InputError, or the exact mask; `plain` gives what pycocotools would write, and can read."""
    runs, rle = reference(counts, size[0] * size[1]), {"size": list(size), "counts": counts}
    if runs is None:
        for read in (coco_rle.decode, coco_rle.plain):
            with pytest.raises(InputError, match="file"):
                read(rle, size, "file")
        return
    mask = np.repeat(np.arange(len(runs)) & 1, runs).reshape(size[::-1]).T.astype(bool)
    np.testing.assert_array_equal(coco_rle.decode(rle, size, "file"), mask)
    plain = coco_rle.plain(rle, size, "file")
    np.testing.assert_array_equal(coco.decode(plain), mask)
    again = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    both = coco.merge([plain, again], intersect=True)
    assert coco.area(both) == mask.sum() == coco.area(plain)


SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
NUMBERS = st.one_of(
    st.integers(0, 30), st.integers(-3, 200), st.integers(2**31 - 2, 2**33), st.integers(2**63 - 2, 2**64 + 2)
)
ODD = st.one_of(NUMBERS, st.just(10**400), st.booleans(), st.floats(), st.none(), st.text(max_size=2))
LISTS = st.lists(ODD, max_size=30)
STRINGS = st.one_of(
    st.text(st.characters(min_codepoint=46, max_codepoint=113), max_size=40),
    st.text(max_size=10),
    st.lists(st.integers(-(2**40), 2**40), max_size=12).map(compress),
)


@st.composite
def filling(draw):
    """Runs that fill a mask, some of them empty."""
    size = draw(SIZES)
    left, runs = size[0] * size[1], []
    for run in draw(st.lists(st.integers(0, 20), max_size=20)):
        runs.append(min(run, left))
        left -= runs[-1]
    return size, [*runs, left] + [0] * draw(st.integers(0, 3))


def arbitrary_runs(size, counts):
    expect_exact(counts, size)


def filling_runs(made, at, piece):
    size, runs = made
    expect_exact(runs, size)
    text = compress(runs)
    expect_exact(text, size)
    at %= len(text)
    expect_exact(text[:at] + piece + text[at + 1 :], size)


arguments = st.tuples(SIZES, st.one_of(LISTS, STRINGS))
changes = st.tuples(filling(), st.integers(0, 500), st.sampled_from(["", "0", "o", "`", "P0", "oooooo0", "é", "O"]))


@settings(max_examples=300)
@given(arguments)
def test_arbitrary_runs(drawn):
    arbitrary_runs(*drawn)


@settings(max_examples=300)
@given(changes)
def test_runs_that_fill_a_mask(drawn):
    filling_runs(*drawn)


@pytest.mark.slow
@settings(max_examples=15_000)
@given(arguments)
def test_arbitrary_runs_for_minutes(drawn):
    arbitrary_runs(*drawn)


@pytest.mark.slow
@settings(max_examples=15_000)
@given(changes)
def test_runs_that_fill_a_mask_for_minutes(drawn):
    filling_runs(*drawn)


def test_runs_that_wrap():
    """Sums that are correct only modulo 2^64, and a mask of a thousand empty runs."""
    expect_exact([9223372036854775807, 9223372036854775807, 3074], (48, 64))
    expect_exact(compress([2**63 - 1, 2**63 - 1, 3074]), (48, 64))
    expect_exact([0] * 1000 + [80], (8, 10))
    expect_exact([0] * 100 + [80], (8, 10))
    expect_exact([0] * 10**6 + [80], (8, 10))
    expect_exact(["3072"], (48, 64))
    for size in ([48.0, 64], [True, 1], (48, 64), [48, 64, 1], "ab", None):
        with pytest.raises(InputError, match="size"):
            coco_rle.decode({"size": size, "counts": [3072] if size != [True, 1] else [1]}, (48, 64), "file")
