"""grounding_dino and sam3: boxes and masks equal those of processors and networks; key frames, scores, presence."""

import shutil

import numpy as np
import pytest
import torch
import transformers
from helpers import tiny_detectors, tiny_sam
from helpers.low_precision import autocast_alone
from helpers.tiny_detectors import frame
from test_segmenter_adapters import SIZE, Images, T
from transformers import BertTokenizer, CLIPTokenizer
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.ensemble.recipe.components import list_components, make_component
from rvos_ensemble.propagators.core.key_frames import choose

SENTENCES = ["The small red dog", "a cat that runs on the left", "The small red dog"]
CLIP = Clip(
    "v", tuple(map(str, range(T))), tuple(Expression("v", str(i), s) for i, s in enumerate(SENTENCES)), Images()
)
ONE = Clip("v", CLIP.frames, CLIP.expressions[:1], CLIP.images)
DINO = ("grounding-dino", "mm-grounding-dino")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {kind: tiny_detectors.write(tmp_path_factory.mktemp(kind), kind) for kind in (*DINO, "sam3")}
    for kind in tiny_sam.KINDS:
        made[f"masks_{kind}"] = tiny_sam.write_folder(tmp_path_factory.mktemp(kind), tiny_sam.tiny_sam(kind))
    return made


def grounding_dino(folders, kind="grounding-dino", masks="sam2", **settings):
    values = {"weights": str(folders[kind]), "masks": str(folders[f"masks_{masks}"]), "k": 2, **settings}
    return make_component("adapter", {"adapter": "grounding_dino", **values}, "source x")


def sam3(folders, **settings):
    values = {"weights": str(folders["sam3"]), "k": 2, "threshold": 0.1, **settings}
    return make_component("adapter", {"adapter": "sam3", **values}, "source x")


def with_sentence(text):
    return Clip("v", CLIP.frames, (Expression("v", "0", text),), CLIP.images)


# ---------------------------------------------------------------------------------------------------- GroundingDINO
@pytest.mark.parametrize("kind", DINO)
def test_boxes_equal_those_of_the_processor(kind, folders):
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil(**tiny_detectors.PROCESSORS[kind]), BertTokenizer.from_pretrained(folders[kind])
    )
    network, image = tiny_detectors.network(kind), frame(*SIZE)
    inputs = processor(image, ["a small red dog"], return_tensors="pt")  # a list of names: lower case, full stop
    expected = processor.post_process_grounded_object_detection(
        network(**inputs), inputs["input_ids"], threshold=0.4, target_sizes=[SIZE]
    )[0]
    model = grounding_dino(folders, kind, take="all", threshold=0.4).model
    boxes, scores = model.boxes(model.rule.pixels(image), " A small RED dog", SIZE)
    order = expected["scores"].argsort(descending=True)
    assert len(order) and (scores - expected["scores"][order]).abs().max() < 1e-5
    assert (boxes - expected["boxes"][order]).abs().max() < 1e-3


@pytest.mark.parametrize(("kind", "network"), [("sam2", "Sam2Model"), ("sam3", "Sam3TrackerModel")])
def test_masks_of_boxes_are_those_of_the_network(kind, network, folders):
    """The processors of SAM need torchvision; what they do to boxes and masks is written out here."""
    model = grounding_dino(folders, masks=kind).model.segmenter
    image, boxes = frame(*SIZE), torch.tensor([[5.0, 6, 40, 30], [20, 10, 60, 44]])
    side = tiny_sam.SIZE[kind]
    mean, std = ((0.5,) * 3,) * 2 if kind == "sam3" else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], size=(side, side), mode="bilinear", antialias=True
    )
    pixels = (x / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    prompts = torch.stack([boxes[:, i] * side / SIZE[1 - i % 2] for i in range(4)], 1)[None]
    theirs = getattr(transformers, network).from_pretrained(folders[f"masks_{kind}"], local_files_only=True)
    with torch.no_grad():
        out = theirs(pixel_values=pixels, input_boxes=prompts, multimask_output=False)
        large = torch.nn.functional.interpolate(out.pred_masks[0], SIZE, mode="bilinear", align_corners=False)[:, 0]
        found = list(model.masks(model.features(image), boxes, SIZE))
    assert [iou for _, iou in found] == pytest.approx(out.iou_scores[0, :, 0].clamp(0, 1).tolist(), abs=1e-4)
    for (mask, _), logits in zip(found, large, strict=True):
        assert np.count_nonzero(mask != (logits > 0).numpy()) <= 1


def test_sentences_become_masks_on_key_frames(folders):
    source = grounding_dino(folders, threshold=0.1)
    assert source.check([CLIP]) == []
    prediction = check_prediction(source.predict(CLIP), CLIP, "x")
    for sequence in prediction.values():
        shown = [t for t in range(T) if sequence.mask(t).any()]
        assert shown == [2, 6] and np.flatnonzero(sequence.scores).tolist() == shown
        assert sequence.notes["key_frame"] == int(sequence.scores.argmax()) and sequence.presence is None
        for rule in ("given", "argmax"):
            assert choose({"rule": rule}, sequence).frames == (sequence.notes["key_frame"],)
    assert prediction["0"].scores.tolist() == prediction["2"].scores.tolist() != prediction["1"].scores.tolist()
    best, every = prediction["0"], grounding_dino(folders, threshold=0.1, take="all", most=4).predict(ONE)["0"]
    assert all((every.mask(t) >= best.mask(t)).all() for t in range(T))
    assert sum(every.mask(t).sum() for t in range(T)) > sum(best.mask(t).sum() for t in range(T))


@pytest.mark.parametrize("make", [grounding_dino, sam3])
def test_masks_in_bfloat16_are_those_of_autocast(make, folders):
    with autocast_alone():
        plain = make(folders, threshold=0.1, precision="bf16").predict(ONE)["0"]
    found = make(folders, threshold=0.1, precision="bf16").predict(ONE)["0"]  # with weights that are converted once
    assert found.scores.any() and found.scores.tolist() == plain.scores.tolist()
    assert all(np.array_equal(found.mask(t), plain.mask(t)) for t in range(T))


def test_nothing_found_is_an_empty_mask(folders):
    for source in (grounding_dino(folders, threshold=1.0), sam3(folders, threshold=1.0)):
        sequence = check_prediction(source.predict(ONE), ONE, "x")["0"]
        assert sequence.is_empty() and not sequence.scores.any() and sequence.notes["key_frame"] == 0


def test_problems_of_both_folders_are_reported_together(folders, tmp_path):
    folder = shutil.copytree(folders["grounding-dino"], tmp_path / "copy")
    (folder / "vocab.txt").unlink()
    (folder / "preprocessor_config.json").unlink()
    changed = {**folders, "grounding-dino": folder, "masks_sam2": folders["grounding-dino"]}
    text = "\n".join(grounding_dino(changed).check([CLIP]))
    for words in ("has no tokenizer", "has no preprocessor_config.json", "'grounding-dino', expected sam2 or"):
        assert words in text


def test_the_tokenizer_must_be_that_of_the_network(folders, tmp_path):
    folder = shutil.copytree(folders["grounding-dino"], tmp_path / "copy")
    words = (folder / "vocab.txt").read_text().splitlines()
    (folder / "vocab.txt").write_text("\n".join(w for w in words if w != "[unused500]"))  # moves all later words
    text = "".join(grounding_dino({**folders, "grounding-dino": folder}).check([CLIP]))
    assert "'.' is number 1011, expected 1012 as in bert-base-uncased" in text


@pytest.mark.parametrize("make", [grounding_dino, sam3])
def test_expressions_that_cannot_be_read(make, folders):
    source = make(folders)
    assert "has no words" in source.check([with_sentence(" ")])[0]
    assert "tokens, expected at most" in source.check([with_sentence("dog " * 40)])[0]
    assert source.check([with_sentence("ein Hund")]) == []  # words of another language are tokens, too


# -------------------------------------------------------------------------------------------------------------- SAM 3
def reference(folder, image, text):
    """Scores, masks and presence as Sam3Processor and its post-processing compute them."""
    x = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], size=(112, 112), mode="bilinear", antialias=True
    )
    tokens = CLIPTokenizer.from_pretrained(folder)(text, return_tensors="pt", padding="max_length", max_length=32)
    with torch.no_grad():
        out = tiny_detectors.network("sam3")(pixel_values=(x / 255 - 0.5) / 0.5, **tokens)
    presence = out.presence_logits.sigmoid()
    masks = torch.nn.functional.interpolate(out.pred_masks.sigmoid(), SIZE, mode="bilinear", align_corners=False)[0]
    return (out.pred_logits.sigmoid() * presence)[0], masks > 0.5, float(presence)


def test_sam3_equals_its_processor(folders):
    model, image, text = sam3(folders).model, frame(*SIZE), SENTENCES[0]
    scores, masks, presence = reference(folders["sam3"], image, text)
    with torch.no_grad():
        (answer,) = model.answers(image, [text])
    kept = [i for i in scores.argsort(descending=True).tolist() if scores[i] > 0.1 and masks[i].any()]
    assert kept and answer.presence == pytest.approx(presence, abs=1e-5)
    assert [i.score for i in answer.instances] == pytest.approx(scores[kept].tolist(), abs=1e-5)
    for found, i in zip(answer.instances, kept, strict=True):
        assert np.count_nonzero(found.mask != masks[i].numpy()) <= 1


def test_sam3_states_the_largest_presence_of_its_key_frames(folders):
    source = sam3(folders)
    prediction = check_prediction(source.predict(ONE), ONE, "x")
    assert source.traits(CLIP).presence and not grounding_dino(folders).traits(CLIP).presence
    for expression in ONE.expressions:
        values = [reference(folders["sam3"], frame(*SIZE, seed=t), expression.text)[2] for t in (2, 6)]
        assert prediction[expression.id].presence == pytest.approx(max(values), abs=1e-5)


def test_an_adapter_and_a_propagator_of_one_name_are_told_apart():
    lines = list_components("adapter")["sam3"], list_components("propagator")["sam3"]
    assert "detector, text to masks" in lines[0] and lines[0] != lines[1]
    with pytest.raises(ValueError, match="source x: sam3: setting `weights` must be given"):
        make_component("adapter", {"adapter": "sam3"}, "source x")


def test_a_folder_for_videos_holds_both(folders, tmp_path):
    """facebook/sam3: the adapter takes its detector, `masks` its tracker."""
    tracker = tiny_sam.tiny_config("sam3").to_dict()
    detector = {**tiny_detectors.sam3_config(), "model_type": "sam3"}
    detector["vision_config"] = tracker["vision_config"]  # they share the image encoder
    for part in ("geometry_encoder", "detr_encoder", "detr_decoder", "mask_decoder"):
        detector[f"{part}_config"] = {**detector[f"{part}_config"], "hidden_size": tiny_sam.WIDTH}
    config = transformers.Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
    whole = tiny_detectors.seed(transformers.Sam3VideoModel(config))
    whole.save_pretrained(tmp_path)
    tiny_detectors.clip_tokenizer(tmp_path)
    both = {**folders, "sam3": tmp_path, "masks_sam3": tmp_path}
    assert sam3(both).check([CLIP]) == []
    boxes = grounding_dino(both, masks="sam3")
    assert boxes.check([CLIP]) == []
    expected = whole.detector_model.vision_encoder.backbone.state_dict()
    assert all(
        torch.equal(v, expected[k])
        for k, v in boxes.model.segmenter.network.vision_encoder.backbone.state_dict().items()
    )
