"""JHMDB-Sentences: P@K, Overall IoU, Mean IoU and mAP of single frames."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.ensemble.metrics.protocols.samples.samples import evaluate
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result

SOURCE = (
    "for JHMDB-Sentences MTTR's datasets/jhmdb_sentences/create_gt_in_coco_format.py writes it from the puppet masks "
    "and a list of samples, and ReferFormer's data folder has it as jhmdb_sentences_gt_annotations_in_coco_format.json"
)
LISTS = {  # of jhmdb_sentences_samples_metadata*.json in the repositories, as image ids
    "008c4afb5dd64fb6": "MTTR's",
    "32ce2c52590aed5d": "SOC's first (jhmdb_sentences_samples_metadata.json)",
    "d74261ece5e0be19": "SOC's second (jhmdb_sentences_samples_metadata_new.json)",
}


class JHMDBSentencesProtocol(Protocol):
    """JHMDB-Sentences: as A2D-Sentences, over three frames of each of 928 videos.

    The three frames were drawn at random, separately by each group: the lists of MTTR and SOC share a tenth of their
    2784 samples. Numbers are comparable only on the same list; a note names the list.

    gt: COCO json, one annotation per image; the image ids are `v_VIDEO_f_FRAME`. The data set is published as Matlab
    files; MTTR's `datasets/jhmdb_sentences/create_gt_in_coco_format.py` converts them with a list of samples.

    pred: COCO results json, as for `a2d_sentences`.
    """

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores COCO results against a COCO ground truth; see `Protocol.evaluate`."""
        return evaluate(Path(gt), Path(pred), SOURCE, LISTS)
