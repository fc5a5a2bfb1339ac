"""The family AOT: its checkpoints, those published included.

Source: Yang et al., "Associating Objects with Transformers for Video Object Segmentation", NeurIPS 2021; MODEL_ZOO.md
of https://github.com/yoxu515/aot-benchmark.
"""

from __future__ import annotations

from rvos_ensemble.propagators.inference.aot.family import PublishedVOS, VOSFamily


class AOTFamily(VOSFamily):
    """AOT-T/S/B/L and its larger encoders."""

    published = {
        "aott": PublishedVOS("AOTT_PRE_YTB_DAV.pth", 5.7, 80.2, 41.0),
        "aots": PublishedVOS("AOTS_PRE_YTB_DAV.pth", 7.0, 82.9, 27.1),
        "aotb": PublishedVOS("AOTB_PRE_YTB_DAV.pth", 8.3, 84.0, 20.5),
        "aotl": PublishedVOS("AOTL_PRE_YTB_DAV.pth", 8.3, 84.1, 16.0),
        "r50_aotl": PublishedVOS("R50_AOTL_PRE_YTB_DAV.pth", 14.9, 84.6, 14.9),
        "swinb_aotl": PublishedVOS("SwinB_AOTL_PRE_YTB_DAV.pth", 65.4, 84.7, 9.3),
    }
    unpublished = {
        "r101_aotl": "configured in the official code, no file published",
        "swinl_aotl": "trained by the LSVOS 2023 winners, no file published",
        "aot_nano": "trained by ourselves and part of this package: `weights=aot_nano`",
        "aot_real": "ours, for real video; `train propagator=aot variant=aot_real`, see docs/training.md",
    }
