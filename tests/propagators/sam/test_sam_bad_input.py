"""What is wrong with a folder or file of SAM weights, in sentences that name it and say what to do."""

import json

import pytest
import torch
from helpers.tiny_sam import KINDS, rewrite_config, tiny_sam, write_folder, write_snapshot

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.propagators.inference.sam.checkpoints.loading import load_sam, open_sam

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{kind: a folder with its weights in several files}."""
    root = tmp_path_factory.mktemp("sam")
    return {kind: write_folder(root / kind, tiny_sam(kind), shards=3 if kind == "sam2" else 1) for kind in KINDS}


@pytest.fixture
def folder(folders, tmp_path):
    """A folder of its own with links to the files of the sam2 folder, so that a test may take some away."""
    place = tmp_path / "sam2"
    place.mkdir()
    for file in folders["sam2"].iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    return place


def problems(path, kind="sam2"):
    with pytest.raises(InputError) as raised:
        load_sam(path, kind)
    return raised.value.problems


def shards(folder):
    return sorted(folder.glob("*.safetensors"))


def cut(file, share=0.5):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def test_everything_that_is_missing_is_named_together(folder):
    (folder / "config.json").unlink()
    gone = shards(folder)[:2]
    for file in gone:
        file.unlink()
    found = problems(folder)
    assert len(found) == 3
    assert found[0] == f"{folder}: has no config.json, the sizes of the network"
    assert all(
        f"has no {file.name}, a shard that {INDEX} names" in text for file, text in zip(gone, found[1:], strict=True)
    )


def test_damaged_shards_are_named_together(folder):
    first, second = shards(folder)[:2]
    cut(first)
    second.write_bytes(b"")
    found = problems(folder)
    assert len(found) == 2
    assert all("not safetensors, or a file that is cut short or damaged" in text for text in found)
    assert found[0].startswith(str(first)) and found[1].startswith(str(second))


def test_an_index_must_name_files_beside_it(folder):
    index = folder / INDEX
    content = json.loads(index.read_text())
    for wrong in ("../other.safetensors", "/etc/passwd", "weights.bin", 3):
        content["weight_map"]["no_memory_embedding"] = wrong
        index.write_text(json.dumps(content))
        assert "expected files of safetensors beside it" in problems(folder)[0]
    index.write_text('{"weight_map": {}}')
    assert "holds no `weight_map`" in problems(folder)[0]
    index.unlink()
    assert f"but not {INDEX}, which names all shards" in problems(folder)[0]


def test_other_files_in_place_of_safetensors(folder):
    for file in [*shards(folder), folder / INDEX]:
        file.unlink()
    assert "has no model.safetensors, the weights; it has config.json" in problems(folder)[0]
    torch.save({}, folder / "sam2.1_hiera_tiny.pt")
    assert f"name the file itself: weights={folder / 'sam2.1_hiera_tiny.pt'}" in problems(folder)[0]
    torch.save({}, folder / "pytorch_model.bin")
    assert "a pickle, which is not loaded from a folder; expected model.safetensors" in problems(folder)[0]


def test_a_download_that_was_not_completed(tmp_path):
    root = write_snapshot(tmp_path, tiny_sam("sam2"))
    weights = root / "snapshots" / ("0" * 40) / "model.safetensors"
    blob = weights.resolve()
    blob.rename(f"{blob}.incomplete")
    found = problems(root)
    assert "a link to a file that does not exist: the download is incomplete" in found[0]
    assert "run `hf download facebook/sam2.1-hiera-tiny` again, with enough room on the disk" in found[0]
    weights.unlink()
    assert "1 downloads were not completed (*.incomplete): run `hf download" in problems(root)[0]
    (root / "refs" / "main").write_text("f" * 40)
    (root / "snapshots" / "1234").mkdir()
    assert "refs/main names the snapshot 'fff" in problems(root)[0]
    blob_of_config = (root / "snapshots" / ("0" * 40) / "config.json").resolve()
    blob_of_config.unlink()
    assert len(problems(root / "snapshots" / ("0" * 40))) == 2


def test_a_config_of_another_network(folder):
    for model_type, words in (
        ("edgetam_video", "use the propagator `edgetam` for it"),
        ("sam3_video", "use the propagator `sam3` for it"),
        ("bert", "expected sam2_video; take a folder such as facebook/sam2.1-hiera-tiny"),
        (None, "`model_type` is None"),
    ):
        rewrite_config(folder, model_type=model_type)
        assert words in problems(folder)[0]
    (folder / "config.json").write_text("[]")
    assert "`model_type` is None" in problems(folder)[0]
    (folder / "config.json").write_text("{")
    assert "not a json file" in problems(folder)[0]


def test_the_config_of_sam2_for_images_is_accepted_beside_weights_for_videos(folder):
    config = json.loads((folder / "config.json").read_text())
    config["prompt_encoder_config"]["model_type"] = "sam2_prompt_encoder"
    config["mask_decoder_config"]["model_type"] = "sam2_mask_decoder"
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "sam2", "architectures": ["Sam2Model"]}))
    expected = tiny_sam("sam2").state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in load_sam(folder, "sam2").state_dict().items())


def test_a_config_of_another_size(folder):
    rewrite_config(folder, memory_attention_num_layers=3, memory_fuser_intermediate_dim=32)
    found = problems(folder)
    assert (
        "recognised as SAM 2.1 hiera tiny of width 12, but weights are missing: memory_attention.layers.2" in found[0]
    )
    assert any("pointwise_conv1.weight has shape (64, 128), expected (32, 128)" in text for text in found)
    assert found[-1].endswith("likely a config.json that belongs to other weights")
    rewrite_config(folder, memory_attention_num_layers=10**9)
    assert "`memory_attention_num_layers` is 1000000000, expected a number of at most" in problems(folder)[0]
    rewrite_config(folder, memory_attention_num_layers="many")
    assert "describes no network of sam2" in problems(folder)[0]


def test_a_config_is_data(folder, monkeypatch):
    """Names of code, kernels and other networks in it are neither imported nor downloaded."""
    monkeypatch.setattr("socket.socket.connect", lambda *a: pytest.fail("a connection"))
    marks = {"auto_map": {"AutoModel": "evil.Model"}, "_attn_implementation": "evil/kernel", "_name_or_path": "evil/x"}
    rewrite_config(folder, **marks, attn_implementation="evil/kernel", quantization_config={"quant_method": "gptq"})
    assert load_sam(folder, "sam2").config._attn_implementation in ("sdpa", "eager")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["backbone_config"] = {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/model"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "`vision_config.backbone_config.architecture` is 'hf-hub:evil/model'" in problems(folder)[0]
    config["vision_config"] = {"model_type": "clip"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "`vision_config` has the model_type 'clip'" in problems(folder)[0]


def test_weights_of_another_kind_are_named(folders, checkpoints):
    assert "holds weights of edgetam, expected sam2; use propagator `edgetam` for it" in problems(folders["edgetam"])[0]
    assert "holds weights of sam2, expected sam3" in problems(folders["sam2"], "sam3")[0]
    assert "holds weights of aot, expected sam2" in problems(checkpoints("aott"))[0]
    assert "no such file, expected a folder in the Hugging Face layout" in problems(folders["sam2"] / "nothing")[0]


def test_a_network_for_images_alone_cannot_track(tmp_path):
    network = tiny_sam("sam2")
    state = {k: v for k, v in network.state_dict().items() if not k.startswith(("memory_", "object_pointer"))}
    network.save_pretrained(tmp_path, state_dict=state)
    assert "weights of a sam2 for single images, without a memory (memory_attention.*)" in problems(tmp_path)[0]


def test_files_of_the_official_code_that_are_not_known(tmp_path):
    file = tmp_path / "official.pt"
    for kind, name in (("edgetam", "image_encoder.trunk.body.conv1.weight"), ("sam3", "tracker.maskmem_backbone.x")):
        torch.save({"model": {name: torch.zeros(1)}}, file)
        found = problems(file, kind)[0]
        assert "a file of the official code of" in found and "which is not known here; take " in found
    names = {f"image_encoder.trunk.blocks.{n}.mlp.layers.0.weight": torch.zeros(8, 2) for n in range(3)}
    torch.save({"model": names | {"memory_attention.norm.weight": torch.zeros(2)}}, file)
    assert "with [3] blocks in the stages of the image encoder, expected those of a published size" in problems(file)[0]


def test_a_file_of_a_folder_needs_its_config(folders):
    file = folders["edgetam"] / "model.safetensors"
    assert f"name the folder that holds both: weights={file.parent}" in problems(file, "edgetam")[0]


def test_a_folder_for_a_network_of_one_file(folders, capsys):
    arguments = ["check", "recipe=stage1", f"propagators.aot.weights={folders['sam2']}"]
    assert run_ensemble.main(arguments) == 2
    assert f"{folders['sam2']}: a folder, expected a file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_verify(kind, folders, capsys):
    assert run_ensemble.main(["weights", "verify", str(folders[kind])]) == 0
    printed = capsys.readouterr().out
    millions = open_sam(folders[kind], kind).parameters / 1e6
    assert f"(propagator `{kind}`), {millions:.1f} million parameters, fits" in printed
    assert run_ensemble.main(["weights", "export", str(folders[kind]), "x.safetensors"]) == 2
    assert "one file of weights cannot hold" in capsys.readouterr().err
