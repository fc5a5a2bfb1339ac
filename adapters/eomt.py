"""EoMT: the instances of single frames by a plain vision transformer.

Source: Kerssies et al., "Your ViT is Secretly an Image Segmentation Model", CVPR 2025;
https://github.com/tue-mps/eomt, in transformers EomtForUniversalSegmentation.
"""

from __future__ import annotations

from rvos_ensemble.adapters.inference.transformers_models.segmenter_adapter import InstanceSegmenterAdapter


class EomtAdapter(InstanceSegmenterAdapter):
    """Objects by EoMT on key frames: needs `weights`, such as tue-mps/coco_instance_eomt_large_640."""
