"""The checkpoints of AOT and DeAOT that were published: what to look for, and what was reported for them.

Source: MODEL_ZOO.md of https://github.com/yoxu515/aot-benchmark, where the links are. G is the mean on YouTube-VOS
2018 valid at the default frame rate; FPS was measured there on a V100.
"""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.propagators.inference.checkpoint import load_network
from rvos_ensemble.propagators.networks.variants import VARIANTS

ZOO = "https://github.com/yoxu515/aot-benchmark/blob/main/MODEL_ZOO.md"
PUBLISHED = {  # variant: (file, million parameters, G, FPS)
    "aott": ("AOTT_PRE_YTB_DAV.pth", 5.7, 80.2, 41.0),
    "aots": ("AOTS_PRE_YTB_DAV.pth", 7.0, 82.9, 27.1),
    "aotb": ("AOTB_PRE_YTB_DAV.pth", 8.3, 84.0, 20.5),
    "aotl": ("AOTL_PRE_YTB_DAV.pth", 8.3, 84.1, 16.0),
    "r50_aotl": ("R50_AOTL_PRE_YTB_DAV.pth", 14.9, 84.6, 14.9),
    "swinb_aotl": ("SwinB_AOTL_PRE_YTB_DAV.pth", 65.4, 84.7, 9.3),
    "deaott": ("DeAOTT_PRE_YTB_DAV.pth", 7.2, 82.0, 53.4),
    "deaots": ("DeAOTS_PRE_YTB_DAV.pth", 10.2, 84.0, 38.7),
    "deaotb": ("DeAOTB_PRE_YTB_DAV.pth", 13.2, 84.6, 30.4),
    "deaotl": ("DeAOTL_PRE_YTB_DAV.pth", 13.2, 84.8, 24.7),
    "r50_deaotl": ("R50_DeAOTL_PRE_YTB_DAV.pth", 19.8, 86.0, 22.4),
    "swinb_deaotl": ("SwinB_DeAOTL_PRE_YTB_DAV.pth", 70.3, 86.2, 11.9),
}
UNPUBLISHED = {
    "r101_aotl": "configured in the official code, no file published",
    "swinl_aotl": "trained by the LSVOS 2023 winners, no file published",
    "swinl_deaotl": "trained by the LSVOS 2023 winners, no file published",
    "aot_nano": "trained by ourselves and part of this package: `weights=aot_nano`",
    "deaot_nano": "trained by ourselves and part of this package: `weights=deaot_nano`",
}


def table() -> str:
    """All variants, with the file to look for."""
    lines = [f"propagators aot and deaot: `propagators.aot.weights=FILE`; files at {ZOO}"]
    lines.append(f"  {'variant':13} {'file':30} {'M params':>8} {'G YTB18':>8} {'FPS V100':>8}")
    for name in VARIANTS:
        if name in PUBLISHED:
            file, parameters, mean, fps = PUBLISHED[name]
            lines.append(f"  {name:13} {file:30} {parameters:8.1f} {mean:8.1f} {fps:8.1f}")
        else:
            lines.append(f"  {name:13} {UNPUBLISHED[name]}")
    return "\n".join(lines)


def verify(path: str | Path) -> str:
    """What a file is, after loading it strictly.

    Raises:
        InputError: it does not fit any variant; why, in words.
    """
    network = load_network(path)
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    variant = network.variant
    return f"{path}: {variant.name} (propagator `{variant.family}`), {parameters:.1f} million parameters, fits"
