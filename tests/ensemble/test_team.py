"""Submissions to the challenges of 2026: the counts of the server, team.json, and what is refused before a run."""

import json
import zipfile
from dataclasses import replace

import pytest
from helpers.tiny import MODELS
from helpers.tiny_mevis import make_tiny_mevis
from omegaconf import OmegaConf

import run_ensemble
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.datasets.mevis import Mevis
from rvos_ensemble.ensemble.recipe.config.loading import FOLDER
from rvos_ensemble.ensemble.recipe.team import team_problems
from rvos_ensemble.ensemble.report import submission

MEMBERS = [{"name": "Ada Müller", "affiliation": "Universität X"}, {"name": "李", "affiliation": "Y"}]
TEAM = {"agreement": True, "team_name": "votes", "members": MEMBERS, "email": "ada@x.org"}
QUICK = ("report=false", "annotations=false")


@pytest.fixture(scope="module")
def challenge_data(tmp_path_factory):
    """The tiny benchmark as a test set of the challenge, 2 videos of 4 expressions; its recipe has a team."""
    folder = tmp_path_factory.mktemp("challenge")
    tiny = make_tiny_mevis(folder, clips=("a", "b"), split="test", name="meta_expressions_text_release.json")
    recipe = OmegaConf.load(tiny.recipe)
    recipe.data |= {"version": 2, "counts": [2, 4], "team_file": True}
    recipe.team = TEAM
    OmegaConf.save(recipe, tiny.recipe)
    return tiny


@pytest.fixture
def challenge(challenge_data, tmp_path):
    """The same with a folder of its own for results."""
    return replace(challenge_data, out=tmp_path / "out")


def refused(capsys, challenge, *arguments) -> str:
    """What a run says that ends before anything is computed."""
    assert run_ensemble.main([*challenge.arguments, *QUICK, *arguments]) == 2
    assert not challenge.out.exists() or not any(challenge.out.rglob("*.png"))
    return capsys.readouterr().err


def test_the_zip_has_the_team_and_is_checked(challenge, capsys):
    assert run_ensemble.main([*challenge.arguments, *QUICK]) == 0
    path, clips = challenge.out / "submission.zip", Mevis(root=str(challenge.root), split="test").clips()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names[-1] == "team.json" and names[0] == "a/0/00000.png" and len(names) == 2 * 4 * 5 + 1
        assert json.loads(archive.read("team.json").decode("utf-8")) == TEAM
    assert submission.check(path, clips, "", team_file=True) == [] == submission.check(path, clips, "")
    assert run_ensemble.main(["check", *challenge.arguments]) == 0
    assert run_ensemble.main([*challenge.arguments, *QUICK, "team.team_name=no", "team.email=b@c.de"]) == 0
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("team.json"))["team_name"] == "no", "text of the command line is text"
    assert "2 reused" in capsys.readouterr().out


def test_a_missing_team_is_said_before_the_run(challenge, capsys):
    message = refused(capsys, challenge, "team=null")
    assert "team must be given: the server of data set mevis requires team.json" in message
    assert "agreement: true" in message and "submission=false" in message
    assert run_ensemble.main(["check", *challenge.arguments, "team=null"]) == 2
    assert run_ensemble.main([*challenge.arguments, *QUICK, "team=null", "data.team_file=false"]) == 0
    with zipfile.ZipFile(challenge.out / "submission.zip") as archive:
        assert "team.json" not in archive.namelist()
    capsys.readouterr()
    assert run_ensemble.main([*challenge.arguments, *QUICK, "team=null", "submission=false"]) == 0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("agreement", "false", "setting `agreement` is False, expected true: the team agrees to the rules"),
        ("agreement", "null", "`agreement` must be given"),
        ("email", "ada", "setting `email` is 'ada', expected an e-mail address"),
        ("email", "ada@x y.de", "`email` is"),
        ("team_name", "null", "`team_name` must be given"),
        ("members", "[]", "`members` must be given"),
        ("members", "[Ada]", "`members` is"),
        ("members", "[{name: Ada}]", "team: member 1: setting `affiliation` must be given"),
        ("members", "[{name: A, affiliation: B}, {name: '', afiliation: B}]", "member 2: unknown key `afiliation`"),
        ("captain", "Ada", "team: unknown key `captain`"),
    ],
)
def test_an_incomplete_team_is_said_before_the_run(challenge, capsys, key, value, message):
    assert message in refused(capsys, challenge, f"team.{key}={value}")


def test_the_counts_of_the_server(challenge, tmp_path, capsys):
    message = refused(capsys, challenge, "data.counts=[40,10]")
    assert "meta_expressions_text_release.json: 2 videos, expected 40; the server refuses such a submission" in message
    assert "2 videos do not have 10 expressions: 'a' has 4, 'b' has 4" in message and "data.counts=null" in message
    assert "1 videos, expected 2" in refused(capsys, challenge, "data.videos=a")
    content = json.loads((challenge.root / "test/meta_expressions_text_release.json").read_text())
    del content["videos"]["b"]["expressions"]["1"]
    (tmp_path / "fewer.json").write_text(json.dumps(content))
    fewer = (f"data.meta={tmp_path / 'fewer.json'}", *(f"sources.{name}.extra=ignore" for name in MODELS))
    assert "1 videos do not have 4 expressions: 'b' has 3;" in refused(capsys, challenge, *fewer)
    assert run_ensemble.main([*challenge.arguments, *QUICK, *fewer, "data.counts=null"]) == 0


def test_the_table_of_the_test_set_asks_for_both():
    settings = OmegaConf.to_container(OmegaConf.load(FOLDER / "data" / "mevisv2_test.yaml"))
    assert settings.pop("dataset") == "mevis" and settings["counts"] == [40, 10]
    assert Mevis(**settings | {"root": "x"}).team_file and not Mevis(root="x").team_file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "team.json is missing at its root, which the server requires: {agreement: true"),
        (b"{", "team.json: not a json file"),
        (b"[]", "team.json: [], expected {agreement: true"),
        (json.dumps(TEAM | {"agreement": "yes"}).encode(), "team.json: setting `agreement` is 'yes', expected true"),
        (json.dumps(TEAM | {"members": [{"name": "A"}]}).encode(), "team.json: member 1: setting `affiliation`"),
        (json.dumps({k: v for k, v in TEAM.items() if k != "email"}).encode(), "team.json: setting `email` must be"),
    ],
)
def test_the_team_of_a_foreign_zip(challenge, tmp_path, content, message):
    clips = Mevis(root=str(challenge.root), split="test").clips()
    path = tmp_path / "foreign.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for clip in clips:
            for name in submission.members(clip, ""):
                archive.write(challenge.root / "predictions" / "soc" / name, name)
        if content is not None:
            archive.writestr("team.json", content)
    (problem,) = submission.check(path, clips, "", team_file=True)
    assert problem.startswith(str(path)) and message in problem
    assert (submission.check(path, clips, "") == []) == (content is None)


def test_a_team_of_any_form_gives_sentences():
    for team in (None, 3, [], {"members": 3}, {"members": [3]}, parse_json(b'{"agreement": 1}', "x")):
        problems = team_problems(team, "team")
        assert problems and all(p.startswith("team: ") for p in problems)
    assert team_problems(TEAM, "team") == []
