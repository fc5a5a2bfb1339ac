"""Official checkpoints of the four models: every layout loads, every backbone is recognised, every fault has words."""

import ast
import pickle
import zipfile

import numpy as np
import pytest
import torch
from helpers.rvos_weights import BACKBONES, official, weights_of

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference import families
from rvos_ensemble.adapters.inference.checkpoints import registry
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.segmenter_family import SegmenterFamily

FAMILIES = {n: f for n, f in registry.families(families).items() if isinstance(f, SegmenterFamily)}
PUBLISHED = [(f, row) for f in FAMILIES.values() for row in f.published]
WORDS = {"referformer": 311, "mutr": 311, "soc": 311, "uninext": 90}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """model -> (weights, path of the official file)."""
    folder, made = tmp_path_factory.mktemp("rvos"), {}

    def get(model):
        if model not in made:
            weights = weights_of(model, WORDS[model])
            made[model] = weights, official(model, weights, folder / f"{model}.pth")
        return made[model]

    return get


def keys_of(path):
    """{name: tensor without memory} of a list of official names."""
    rows = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {key: torch.empty(ast.literal_eval(shape), device="meta") for key, shape, *_ in rows}


def test_every_published_backbone_is_recognised_by_its_official_names(shared):
    found = 0
    for path in sorted((shared / "golden").glob("*/keys_*.txt")):
        model, backbone = path.parent.name, path.stem.removeprefix("keys_").rpartition("_")[0]
        if model not in FAMILIES:
            continue
        backbone = {"r50": "resnet50", "video-swin-t": "video_swin_t_p4w7", "video-swin-b": "video_swin_b_p4w7"}.get(
            backbone, backbone
        )
        weights = keys_of(path)
        assert registry.recognise(weights, registry.families(families).values()).name == model, path
        assert FAMILIES[model].variant(weights, path) == backbone, path
        found += 1
    assert found >= 20


@pytest.mark.parametrize(
    "family, row", PUBLISHED, ids=lambda x: getattr(x, "name", None) or f"{x.backbone} {x.trained}"
)
def test_what_is_published_can_be_loaded(family, row):
    assert row.backbone in family.backbones


@pytest.mark.parametrize("model", BACKBONES)
def test_official_layouts_load_weight_by_weight(files, model, capsys):
    weights, path = files(model)
    found = open_checkpoint(path)
    assert (found.family.name, found.backbone) == (model, BACKBONES[model])
    assert found.ignored == {"referformer": 0, "mutr": 0, "soc": 2, "uninext": 3}[model]
    assert found.weights.keys() == weights.keys()
    assert all(torch.equal(found.weights[k], weights[k]) for k in list(weights)[::7])
    network = found.network()
    assert not any(x.is_meta for x in (*network.parameters(), *network.buffers()))
    assert found.parameters > 4e7
    assert run_ensemble.main(["weights", "verify", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"{model} with backbone {BACKBONES[model]} (adapter `{model}`)" in printed and "fits" in printed


def test_half_precision_and_bare_state_dicts_load(files, tmp_path):
    weights, _ = files("referformer")
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in weights.items()}, tmp_path / "half.pth")
    network = open_checkpoint(tmp_path / "half.pth").network()
    assert network.query_embed.weight.dtype == torch.float32
    assert torch.allclose(network.query_embed.weight, weights["query_embed.weight"], atol=1e-3)


def test_a_file_in_the_format_before_zip_loads(files, tmp_path):
    weights, _ = files("referformer")
    torch.save({"model": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert open_checkpoint(tmp_path / "old.pth").backbone == "resnet50"


class Bomb:
    def __reduce__(self):
        return print, ("code in a pickle ran",)


def without(weights, *beginnings):
    return {k: v for k, v in weights.items() if not k.startswith(beginnings)}


FAULTS = {  # kind: (model the file is made of, model and backbone wanted, words)
    "none": (
        "referformer",
        {},
        "no such file, expected a checkpoint of candidates, grounding, judge, mutr, referformer, soc, uninext, urvos",
    ),
    "truncated": ("referformer", {}, "cut short or damaged"),
    "flipped": ("referformer", {}, "damaged"),
    "code": ("referformer", {}, "a pickle that calls"),
    "plain pickle with code": ("referformer", {}, "it was not loaded"),
    "another model": ("mutr", {"family": "soc"}, "holds weights of mutr, expected soc; use `adapter: mutr` for it"),
    "wrong backbone": (
        "referformer",
        {"family": "referformer", "expected": "video_swin_b_p4w7"},
        "holds weights of referformer with backbone resnet50, expected video_swin_b_p4w7",
    ),
    "unknown backbone": ("soc", {}, "with a backbone that is none of resnet50, resnet101, swin_t_p4w7"),
    "mixed backbones": ("referformer", {}, "likely a backbone of another size than those published"),
    "image-level": ("uninext", {}, "weights of UNINEXT's image-level training, expected those of its video-level"),
    "without box refinement": ("referformer", {}, "likely a model trained without --with_box_refine"),
    "no text encoder": ("referformer", {}, "without its text encoder"),
    "another text encoder": ("referformer", {}, "likely another text encoder than roberta-base"),
    "in part": ("soc", {}, "likely a file that was saved in part"),
    "unknown": ("mutr", {}, "unknown weights are in it: audio.weight"),
    "backbone alone": ("referformer", {}, "a backbone alone, as it was pre-trained"),
    "language model alone": ("referformer", {}, "a language model alone"),
    "propagator": ("referformer", {}, "weights of the propagators AOT or DeAOT"),
    "something else": ("referformer", {}, "holds other weights (a.weight"),
    "no tensors": ("referformer", {}, "expected a checkpoint with tensors by name"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_named_with_their_cause(kind, files, tmp_path, capsys):
    model, wanted, words = FAULTS[kind]
    weights, good = files(model)
    path = tmp_path / "w.pth"
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[:1_000_000])
    elif kind == "flipped":  # in the directory of the zip
        data = bytearray(good.read_bytes())
        data[-400:-300] = bytes(100)
        path.write_bytes(data)
    elif kind == "code":
        torch.save({"model": weights, "args": Bomb()}, path)
    elif kind == "plain pickle with code":
        path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    elif kind in ("another model", "wrong backbone"):
        path = good
    elif kind != "none":
        torch.save(changed(kind, weights), path)
    with pytest.raises(InputError) as error:
        open_checkpoint(path, **wanted)
    assert words in str(error.value) and str(path) in str(error.value)
    assert "ran" not in capsys.readouterr().out
    if kind not in ("another model", "wrong backbone"):  # the command says the same, or that of the propagators
        assert run_ensemble.main(["weights", "verify", str(path)]) == 2


def changed(kind, weights):
    """The weights with that fault."""
    body = "backbone.0.body."
    if kind == "unknown backbone":
        return without(weights, body) | {f"{body}stem.0.weight": torch.zeros(96, 3, 4, 4)}
    if kind == "mixed backbones":
        return {k: torch.zeros(7) if k == f"{body}layer2.0.conv1.weight" else v for k, v in weights.items()}
    if kind == "image-level":
        return weights
    if kind == "without box refinement":
        single = {k.replace("bbox_embed.0.", "bbox_embed."): v for k, v in weights.items() if "bbox_embed.0." in k}
        return {k: v for k, v in weights.items() if "bbox_embed" not in k} | single
    if kind == "no text encoder":
        return without(weights, "text_encoder.")
    if kind == "another text encoder":
        return {k: v[:, :512] if k.endswith("word_embeddings.weight") else v for k, v in weights.items()}
    if kind == "in part":
        return without(weights, "controller.", "vlf.")
    if kind == "unknown":
        return weights | {"audio.weight": torch.zeros(3)}
    if kind == "backbone alone":
        return {k.removeprefix(body): v for k, v in weights.items() if k.startswith(body)}
    if kind == "language model alone":
        return {k.removeprefix("text_"): v for k, v in weights.items() if k.startswith("text_encoder.")}
    if kind == "propagator":
        return {"LSTT.layers.0.linear_Q.weight": torch.zeros(3)}
    return {"epoch": 3} if kind == "no tensors" else {"a.weight": torch.zeros(3)}


def test_numpy_numbers_are_read_under_both_of_their_names(tmp_path):
    from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights

    path = tmp_path / "w.tar"
    torch.save({"model_state_dict": {"a": torch.ones(2)}, "best": np.float32(0.25), "n": np.int64(3)}, path)
    assert read_weights(path)["a"].tolist() == [1, 1]
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "old.tar", "w") as new:  # as numpy 1 wrote it
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_weights(tmp_path / "old.tar")["a"].tolist() == [1, 1]


def test_the_table_lists_what_the_papers_report(capsys):
    assert run_ensemble.main(["weights"]) == 0
    printed = capsys.readouterr().out
    assert len(PUBLISHED) >= 38 and all(family.page[0] in printed for family in FAMILIES.values())
    lines = [line.split() for line in printed.splitlines()]
    assert ["uninext", "vit_huge", "video_joint_vit_huge", "70.1", "72.5", "-"] in lines
    assert ["mutr", "convmae_base", "RYTVOS", "66.9", "69.2", "-"] in lines
    for model, family in FAMILIES.items():  # all that the network's file says was published, but for variants of it
        listed = {row.backbone for row in family.published}
        assert listed <= set(family.backbones) and listed <= set(family.network_class.backbones), model
