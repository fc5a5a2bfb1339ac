"""The networks of transformers that adapters run, and the adapter of each."""

from __future__ import annotations

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
