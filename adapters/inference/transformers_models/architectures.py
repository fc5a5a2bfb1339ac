"""The networks of transformers that adapters run, and the adapter of each."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.inference.checkpoints.folder import MOST_JSON, open_folder
from rvos_ensemble.adapters.inference.checkpoints.pretrained import Architecture

SEGMENTERS = {  # {adapter: its network}
    "mask2former": Architecture("Mask2FormerForUniversalSegmentation", ("mask2former",)),
    "oneformer": Architecture("OneFormerForUniversalSegmentation", ("oneformer",)),
    "eomt": Architecture("EomtForUniversalSegmentation", ("eomt",)),
}
DETECTORS = (  # of grounding_dino
    Architecture("GroundingDinoForObjectDetection", ("grounding-dino",)),
    Architecture("MMGroundingDinoForObjectDetection", ("mm-grounding-dino",)),
)
# of sam3; facebook/sam3 is published as sam3_video, which holds a detector and a tracker
CONCEPTS = Architecture("Sam3Model", ("sam3", "sam3_video"), {"sam3_video": "detector_config"})
# boxes to masks, without EdgeTAM, which needs timm; networks for images are read from those for videos
PROMPTED = (
    Architecture("Sam2Model", ("sam2", "sam2_video")),
    Architecture(
        "Sam3TrackerModel",
        ("sam3_tracker", "sam3_tracker_video", "sam3_video"),
        {"sam3_video": "tracker_config"},
        {
            "tracker_model.tracker_model.": "",
            "tracker_model.": "",
            "tracker_neck.": "vision_encoder.neck.",
            "detector_model.vision_encoder.backbone.": "vision_encoder.backbone.",
        },
    ),
)


def adapter_of(path: Path) -> tuple[str, tuple[Architecture, ...]] | None:
    """The adapter that runs the network in a folder, and the networks that it takes; None for any other path.

    A folder that holds that network as a part of another counts as another.
    """
    try:
        kind = read_json(open_folder(path).config, MOST_JSON)["model_type"]
    except (InputError, TypeError, KeyError):
        return None
    networks = {**{name: (a,) for name, a in SEGMENTERS.items()}, "grounding_dino": DETECTORS, "sam3": (CONCEPTS,)}
    return next(((name, of) for name, of in networks.items() if any(kind == a.kinds[0] for a in of)), None)
