"""The published checkpoints of SAM 2, EdgeTAM and SAM 3, with their licences."""

from __future__ import annotations

from typing import NamedTuple

SITE = "https://huggingface.co"
OFFICIAL = "https://github.com/facebookresearch/sam2#download-checkpoints"
APACHE = "Apache-2.0"


class PublishedSam(NamedTuple):
    """One published checkpoint.

    Attributes:
        repository: on the Hugging Face hub, a folder for `weights`.
        file: of the official code, if `weights` accepts that as well; else "".
        parameters: of the network that tracks, millions; None where we could not count them.
        sav: J&F on SA-V test as its authors report it, given the first mask; None if it is not reported.
        mose: J&F on MOSE v1 valid, likewise.
        licence: of the weights.
    """

    repository: str
    file: str
    parameters: float | None
    sav: float | None
    mose: float | None
    licence: str


PUBLISHED = {
    "sam2": (  # figures: README of https://github.com/facebookresearch/sam2
        PublishedSam("facebook/sam2.1-hiera-tiny", "sam2.1_hiera_tiny.pt", 39.0, 76.5, 71.8, APACHE),
        PublishedSam("facebook/sam2.1-hiera-small", "sam2.1_hiera_small.pt", 46.1, 76.6, 73.5, APACHE),
        PublishedSam("facebook/sam2.1-hiera-base-plus", "sam2.1_hiera_base_plus.pt", 80.9, 78.2, 73.7, APACHE),
        PublishedSam("facebook/sam2.1-hiera-large", "sam2.1_hiera_large.pt", 224.4, 79.5, 74.6, APACHE),
        PublishedSam("facebook/sam2-hiera-tiny", "sam2_hiera_tiny.pt", 38.9, 75.0, 70.9, APACHE),
        PublishedSam("facebook/sam2-hiera-small", "sam2_hiera_small.pt", 46.0, 74.9, 71.5, APACHE),
        PublishedSam("facebook/sam2-hiera-base-plus", "sam2_hiera_base_plus.pt", 80.8, 74.7, 72.8, APACHE),
        PublishedSam("facebook/sam2-hiera-large", "sam2_hiera_large.pt", 224.4, 76.0, 74.6, APACHE),
    ),
    # figures and licence: README of https://github.com/facebookresearch/EdgeTAM
    "edgetam": (PublishedSam("yonigozlan/EdgeTAM-hf", "", None, 71.7, 70.0, APACHE),),
    "sam3": (PublishedSam("facebook/sam3", "", 465.8, None, None, "SAM License, not free"),),
}
HEADING = (
    "propagators sam2, edgetam and sam3: `propagators.aot.propagator=sam2 propagators.aot.weights=FOLDER|FILE`; "
    f"repositories at {SITE}",
    f"  {'':8} {'folder: repository':32} {'or file of the official code':28} {'M params':>8} {'SA-V':>5} {'MOSE':>5}"
    "  licence",
)
LINKS = (  # below the table
    f"  official files of SAM 2: {OFFICIAL}",
    "    J&F on SA-V test and MOSE valid as the authors report them; SAM 3: ask for access, read its licence first",
)


def rows(kind: str) -> list[str]:
    """The lines of the table for one kind."""
    lines = []
    for p in PUBLISHED[kind]:
        millions, sav, mose = ("-" if n is None else f"{n:.1f}" for n in (p.parameters, p.sav, p.mose))
        lines.append(f"  {kind:8} {p.repository:32} {p.file or '-':28} {millions:>8} {sav:>5} {mose:>5}  {p.licence}")
    return lines
