"""What report.html says: counts, provenance, words and signals; and what it hides where there is nothing to say."""

import base64
import json
import platform

import numpy as np
import pytest
from helpers.report_page import make_clip, variant
from helpers.tiny import MODELS
from PIL import Image

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble import report
from rvos_ensemble.ensemble.engine.storage.store import key_of
from rvos_ensemble.ensemble.report.page import clip_data
from rvos_ensemble.ensemble.report.provenance import versions
from rvos_ensemble.ensemble.report.record import read_record


def test_provenance(web, done):
    web.open((done.out / "report.html").as_uri())
    text = web.run("document.getElementById('provenance').textContent")
    records = [read_record(file) for file in sorted((done.out / "clips").glob("*.json"))]
    order = web.run("data.clips.map((c) => c[0])")
    records.sort(key=lambda r: order.index(r.clip))
    found = web.run("data.provenance")
    for name in (*MODELS, "smr", "smr_flow"):
        assert found["hashes"][f"result of {name}"] == key_of(*(r.keys[name] for r in records)) in text
    assert found["hashes"]["masks in Annotations/"] == key_of(*(r.pictures for r in records))
    assert found["versions"]["numpy"] == np.__version__ == versions()["numpy"]
    assert found["versions"]["python"] == platform.python_version()
    assert str(done.root) in found["paths"]["data.root"]
    assert str(done.out) not in str(found), "the same results elsewhere have the same page"
    assert "across: expressions" in text and str(done.root / "predictions/soc") in text


def test_the_names_of_a_team_stay_out_of_the_page(done):
    from rvos_ensemble.ensemble.recipe.recipe import load
    from rvos_ensemble.ensemble.report.provenance import provenance

    team = '{"team": "t", "authors": ["Ada Lovelace"]}'
    recipe = load([*done.arguments, "submission=false"])
    recipe.config["team"] = json.loads(team)
    assert "Lovelace" not in json.dumps(provenance(recipe, [], []))


def test_the_home_of_the_user_stays_out_of_the_page(done, monkeypatch):
    from rvos_ensemble.ensemble.recipe.recipe import load
    from rvos_ensemble.ensemble.report.frame import scores_frame
    from rvos_ensemble.ensemble.report.page.page_data import page_data

    recipe = load(done.arguments)
    data = recipe.config["data"]["root"]
    assert page_data(recipe, [], [], scores_frame([], []), {})["provenance"]["paths"]["data.root"] == data
    monkeypatch.setenv("HOME", str(done.root.parent))
    page = page_data(recipe, [], [], scores_frame([], []), {})
    assert str(done.root.parent) not in json.dumps(page) and str(done.root.parent) in json.dumps(recipe.config)
    assert page["provenance"]["paths"]["data.root"] == f"~/{done.root.name}" in page["provenance"]["recipe"]
    soc = next(step for step in page["steps"] if step["name"] == "soc")
    assert soc["settings"]["path"] == f"~/{done.root.name}/predictions/soc"


@pytest.mark.parametrize(
    "value, text, colour",
    [(0.0004, "0.0", ""), (-0.0004, "0.0", ""), (0.0006, "+0.1", "up"), (-0.0006, "−0.1", "down"), ("NaN", "–", "")],
)
def test_gains_that_are_shown_as_zero_are_neutral(web, done, value, text, colour):
    web.open((done.out / "report.html").as_uri())
    assert web.run(f"[signed({value}), direction({value})]") == [text, colour]


def test_changes_that_are_shown_as_zero_are_in_no_list(web, done, tmp_path):
    def even(data, images):
        for e in data["expressions"]:
            e["J"], e["F"] = [0.5] * 4 + [0.5003], [0.5] * 5

    web.open(variant(done.out, tmp_path, even))
    lists = web.run("[...document.querySelectorAll('.gains li, .losses li')].map((l) => l.textContent)")
    assert lists == ["none", "none"]
    assert web.run("document.querySelectorAll('#expressions .up, #expressions .down').length") == 0


def test_one_clip_is_a_clip(web, done, tmp_path):
    def single(data, images):
        data["clips"], data["expressions"] = data["clips"][:1], data["expressions"][:1]

    web.open(variant(done.out, tmp_path, single))
    assert web.run("document.getElementById('facts').textContent").startswith("1 clip, 1 expression; output")
    assert web.run("document.querySelector('.count').textContent") == "1 of 1 expression"


def test_the_output_is_visible_beside_many_steps(web, done, tmp_path):
    def many(data, images):
        last = len(data["steps"]) - 1
        extra = [{**data["steps"][1], "name": f"a_model_with_a_long_name_{i}"} for i in range(12)]
        data["steps"][last:last] = extra
        for e in data["expressions"]:
            for key in "JF":
                e[key][last:last] = [0.5] * 12
            curves = base64.b64decode(e["curves"])
            of_step = len(curves) // (last + 1)
            head, output = curves[:-of_step], curves[-of_step:]
            e["curves"] = base64.b64encode(head + 12 * head[:of_step] + output).decode()
            e["notes"] = {}

    web.open(variant(done.out, tmp_path, many))
    for width in (1280, 390):
        web.look(width, 900)
        web.run("document.getElementById('expressions').scrollIntoView()")
        seen = web.run(
            """(() => { const cell = document.querySelector("#expressions tbody .output");
            const box = cell.getBoundingClientRect(), top = document.elementFromPoint(box.right - 3, box.top + 3);
            return [box.left, box.right, top === cell]; })()"""
        )
        assert 0 < seen[0] < seen[1] <= width and seen[2], seen
        assert web.run("document.documentElement.scrollWidth") <= width


def test_the_number_of_a_wrapped_item_is_at_its_first_line(web, done, tmp_path):
    def long(data, images):
        for e in data["expressions"]:
            e["text"] = "a very long sentence about a dog that runs behind another dog " * 3

    web.look(390, 900)
    web.open(variant(done.out, tmp_path, long))
    web.run("document.querySelector('.gains').scrollIntoView()")
    left, top, height = web.run(
        """(() => { const box = document.querySelector(".gains button").getBoundingClientRect();
        return [box.left, box.top, box.height]; })()"""
    )
    assert height > 60, "it wraps"
    picture = tmp_path / "list.png"
    web.screenshot(picture)
    beside = np.array(Image.open(picture).convert("L"))[int(top) : int(top + height), int(left) - 18 : int(left) - 2]
    inked = np.flatnonzero(beside.min(axis=1) < 128)
    assert len(inked) and inked.max() < 24, "within the first line"


def test_signals_are_those_of_the_masks():
    masks = np.zeros((900, 4, 4), bool)
    values = np.linspace(0, 1, 900, dtype=np.float32)
    values[:3] = np.nan
    stated = MaskSequence.binary(masks).with_(signals={"object_score": values})
    scored = MaskSequence.binary(masks, np.full(900, np.inf, np.float32))
    results = {"sam": {"0": stated}, "soc": {"0": scored}, "vote": {"0": MaskSequence.binary(masks)}}
    body = json.loads(clip_data.body_of(clip_data.pack(make_clip(900, (4, 4)), results)))
    signals = body["signals"]["0"]
    assert set(signals) == {"sam", "soc"} and signals["soc"]["score"] == [None] * len(body["times"])
    assert signals["sam"]["object_score"][0] is None
    assert signals["sam"]["object_score"][1:] == [round(float(values[t]), 3) for t in body["times"][1:]]


def test_words_and_signals_are_shown(web, done, tmp_path):
    words = [["understood", "black: colour (0.90)"], ["not understood", "<b>in water</b>"]]

    def stated(data, images):
        e = next(e for e in data["expressions"] if data["clips"][e["clip"]][0] == "a" and e["id"] == "0")
        e["notes"]["4"] = {"keys": [2], "words": words}
        images["signals"]["0"]["smr_flow"] = {
            "object_score": [0.9, 0.8, None, 0.7, 0.25],
            "predicted_iou": [0.5, 0.5, None, 0.5, 0.5],
        }

    web.open(variant(done.out, tmp_path, stated) + "#a/0")
    web.wait("viewer.rows.every((r) => r.panel)")
    said = web.run("[...document.querySelectorAll('.said > *')].map((e) => e.textContent)")
    assert said == [text for pair in words for text in pair]
    web.run("viewer.seek(4)")
    assert "object score 0.25, predicted iou 0.50" in web.run("document.querySelector('.readout').textContent")
    assert web.run("[...document.querySelectorAll('.stated polyline')].map((l) => l.getAttribute('class'))") == [
        "object_score",
        "predicted_iou",
    ]
    web.run("viewer.seek(2)")
    assert "object score" not in web.run("document.querySelector('.readout').textContent"), "nothing is stated there"
    web.run("viewer.chooseStep('smr')")
    assert web.run("document.querySelectorAll('.said > *').length") == 0


def test_two_swept_keys_are_a_heat_map_and_the_facts_are_those_of_the_ablation(web, tmp_path):
    lines = ["ablation,label,parameters,values,step,J,F,J&F,delta,low,high,clips,expressions"]
    lines += ["grid,the recipe as it is,,,final,0.7,0.7,0.7,0,,,4,23"]
    scores = {(t, s): 0.5 + 0.01 * t + 0.2 * (s == "all") for t in (2, 10, 3) for s in ("all", "one")}
    lines += [
        f'grid,x,steps.final.threshold; steps.final.across,"{t}; {s}",final,{v},{v},{v},0,,,4,23'
        for (t, s), v in scores.items()
    ]
    (tmp_path / "ablation.csv").write_text("\n".join(lines) + "\n")
    report.refresh(tmp_path)
    web.open((tmp_path / "report.html").as_uri())
    rows = web.run(
        "[...document.querySelectorAll('.heat tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    assert [r[0] for r in rows] == ["2", "3", "10"], "numbers are in their order"
    assert [[float(c) for c in r[1:]] for r in rows] == [
        [pytest.approx(100 * scores[int(r[0]), s], abs=0.051) for s in ("all", "one")] for r in rows
    ]
    assert web.run("[...document.querySelectorAll('.heat .best')].map((c) => c.textContent)") == ["80.0"]
    assert web.run("document.getElementById('facts').textContent") == "ablations on 4 clips, 23 expressions."
    for hidden in ("steps", "viewer", "changes", "expressions", "provenance"):
        assert web.run(f"document.getElementById('{hidden}').hidden"), hidden
