"""A2D-Sentences: P@K, Overall IoU, Mean IoU and mAP of single frames."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.ensemble.metrics.protocols.samples.samples import evaluate
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result

SOURCE = (
    "for A2D-Sentences MTTR's datasets/a2d_sentences/create_gt_in_coco_format.py writes it from the h5 masks, which "
    "lie transposed, and ReferFormer's data folder has it as a2d_sentences_test_annotations_in_coco_format.json"
)


class A2DSentencesProtocol(Protocol):
    """A2D-Sentences: precision at IoU thresholds, overall and mean IoU, and mAP over annotated frames.

    gt: COCO json, one annotation per image; the image ids are `v_VIDEO_f_FRAME_i_INSTANCE`. The data set is published
    as h5 files; MTTR's `datasets/a2d_sentences/create_gt_in_coco_format.py` converts them, and frames in which the
    object has no mask are not samples there.

    pred: COCO results json, `[{"image_id", "segmentation": {"size": [H, W], "counts"}, "score"}]`, with all masks that
    the model predicts for the frame (50 queries of MTTR, 20 of SOC, 5 of ReferFormer) at the video's size. One mask per
    frame, such as a fused one, is also accepted; AP then has only one point and mAP has little meaning.

    `ensemble/metrics/protocols/samples/samples.py` defines the measures.
    """

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores COCO results against a COCO ground truth; see `Protocol.evaluate`."""
        return evaluate(Path(gt), Path(pred), SOURCE)
