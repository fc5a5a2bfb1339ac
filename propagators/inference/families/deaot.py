"""The family DeAOT: its checkpoints, those published included.

Source: Yang and Yang, "Decoupling Features in Hierarchical Propagation for Video Object Segmentation", NeurIPS 2022;
MODEL_ZOO.md of https://github.com/yoxu515/aot-benchmark.
"""

from __future__ import annotations

from rvos_ensemble.propagators.inference.aot.family import PublishedVOS, VOSFamily


class DeAOTFamily(VOSFamily):
    """DeAOT-T/S/B/L and its larger encoders."""

    published = {
        "deaott": PublishedVOS("DeAOTT_PRE_YTB_DAV.pth", 7.2, 82.0, 53.4),
        "deaots": PublishedVOS("DeAOTS_PRE_YTB_DAV.pth", 10.2, 84.0, 38.7),
        "deaotb": PublishedVOS("DeAOTB_PRE_YTB_DAV.pth", 13.2, 84.6, 30.4),
        "deaotl": PublishedVOS("DeAOTL_PRE_YTB_DAV.pth", 13.2, 84.8, 24.7),
        "r50_deaotl": PublishedVOS("R50_DeAOTL_PRE_YTB_DAV.pth", 19.8, 86.0, 22.4),
        "swinb_deaotl": PublishedVOS("SwinB_DeAOTL_PRE_YTB_DAV.pth", 70.3, 86.2, 11.9),
    }
    unpublished = {
        "swinl_deaotl": "trained by the LSVOS 2023 winners, no file published",
        "deaot_nano": "trained by ourselves and part of this package: `weights=deaot_nano`",
        "deaot_real": "ours, for real video; `train propagator=deaot variant=deaot_real`, see docs/training.md",
    }
