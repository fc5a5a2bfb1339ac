"""A2D-Sentences: P@K, Overall IoU, Mean IoU and mAP of single frames."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.ensemble.metrics.protocols.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.protocols.sentences import evaluate

SOURCE = (
    "for A2D-Sentences MTTR's datasets/a2d_sentences/create_gt_in_coco_format.py writes it from the h5 masks, which "
    "lie transposed, and ReferFormer's data folder has it as a2d_sentences_test_annotations_in_coco_format.json"
)


class A2DSentences(Protocol):
    """A2D-Sentences: precision at IoU thresholds, overall and mean IoU, and mAP over annotated frames.

    gt: COCO json, one annotation an image; the image ids are `v_VIDEO_f_FRAME_i_INSTANCE`. The data set comes with h5
    files instead; MTTR's `datasets/a2d_sentences/create_gt_in_coco_format.py` converts them, and frames where the
    object has no mask are no samples there.

    pred: COCO results json, `[{"image_id", "segmentation": {"size": [H, W], "counts"}, "score"}]` with every mask that
    the model has for the frame (50 queries of MTTR, 20 of SOC, 5 of ReferFormer) at the video's size. One mask a frame,
    such as a fused one, is well too: then AP has one point only and mAP says little.

    What the measures are stands in `ensemble/metrics/protocols/sentences.py`.
    """

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        return evaluate(Path(gt), Path(pred), SOURCE)
