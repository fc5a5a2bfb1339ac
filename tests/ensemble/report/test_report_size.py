"""The report of a run of the size of Ref-YouTube-VOS, in a real browser."""

import cv2
import numpy as np
from helpers.report_page import column, make_clip

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble import report
from rvos_ensemble.ensemble.engine.storage.results import Place
from rvos_ensemble.ensemble.metrics import scores as metrics
from rvos_ensemble.ensemble.metrics.frame_scores import means_of, pack_scores
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.report.page import clip_data, page
from rvos_ensemble.ensemble.report.record import ClipRecord

CLIPS, EXPRESSIONS, FRAMES_EACH = 202, 834, 27  # Ref-YouTube-VOS valid: 22 thousand masks per step


def big_report(tiny):
    """A report with ten rows, of the size of Ref-YouTube-VOS; all clips share the images of two clips."""
    out = tiny.out
    recipe = load([*tiny.arguments, *(f"steps.more{i}={{op: union, inputs: [soc, mutr]}}" for i in range(5))])
    names, random = [*recipe.sources, *recipe.steps], np.random.default_rng(0)
    templates, clips, records = {}, [], []
    for number in range(CLIPS):
        count = EXPRESSIONS // CLIPS + (number < EXPRESSIONS % CLIPS)
        clip = make_clip(FRAMES_EACH, (360, 640), [str(i) for i in range(count)])
        if count not in templates:
            blob = cv2.GaussianBlur(random.standard_normal((180, 320)), (0, 0), 9)
            still = [cv2.resize(np.roll(blob, 9 * k, axis=0), (640, 360)) > 0.03 for k in range(count)]
            results = {
                n: {
                    e.id: MaskSequence.binary(np.roll(still[k], (3 * t, i), (1, 0)) for t in range(FRAMES_EACH))
                    for k, e in enumerate(clip.expressions)
                }
                for i, n in enumerate(names)
            }
            templates[count] = clip_data.body_of(clip_data.pack(clip, results))
        name = f"{number:010x}"
        values = random.beta(5, 2, (len(names), count, 2, FRAMES_EACH))
        scores = {
            n: {e.id: metrics.Scores(*values[i, k]) for k, e in enumerate(clip.expressions)}
            for i, n in enumerate(names)
        }
        notes = {n: {e.id: {"key_frames": [3], "group": ["0", "1"]} for e in clip.expressions} for n in names}
        clips.append(Clip(name, clip.frames, clip.expressions, clip.images))
        records.append(ClipRecord(name, scores=means_of(scores), notes=notes))
        for file, content in {
            f"clips/{name}.npz": pack_scores(scores, FRAMES_EACH),
            clip_data.file_name(name): f'receive("{name}",\n{templates[count]}\n)\n'.encode(),
        }.items():
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).write_bytes(content)
    report.write_page(recipe, out, clips, records, dict.fromkeys([c.name for c in clips], Place(out)))


def test_834_expressions_load_in_under_3_seconds(web, tiny):
    big_report(tiny)
    size = (tiny.out / "report.html").stat().st_size
    assert 0.9 * page.PAGE_BYTES < size <= page.PAGE_BYTES
    for _ in range(3):  # the fastest of three loads: other tests run at the same time
        seconds = web.open((tiny.out / "report.html").as_uri())
        web.wait("viewer.rows.every((r) => r.panel)")
        ready = web.run("performance.now()") / 1000
        if max(seconds, ready) < 3:
            break
    linked = web.run("data.clips.length - document.querySelectorAll('script.pictures').length")
    print(f"{size / 2**20:.1f} MiB, {linked} clips linked, loaded {seconds:.2f} s, first pictures {ready:.2f} s")
    assert seconds < 3 and ready < 3 and 0 < linked < CLIPS
    assert len(column(web, "clip")) == EXPRESSIONS
    slowest = web.run(
        """(() => { const time = (f) => { const t = performance.now(); f(); document.body.offsetHeight;
        return performance.now() - t; };
        const filter = document.querySelector(".filter");
        return [time(() => document.querySelector("th:nth-child(5) button").click()),
        time(() => { filter.value = "thing 3"; filter.dispatchEvent(new Event("input")); }),
        time(() => viewer.seek(9))]; })()"""
    )
    print("sort, filter, next frame in ms:", [round(v) for v in slowest])
    assert max(slowest) < 1000
    last = web.run(
        "data.clips.findIndex((c) => ![...document.querySelectorAll('script.pictures')]"
        ".some((s) => s.dataset.clip === c[0]))"
    )
    web.run(f"open(data.expressions.find((e) => e.clip === {last}))")
    web.wait("viewer.rows.every((r) => r.panel)")
    assert any(r.endswith(".js") for r in web.requests), "loaded from the folder report/"
