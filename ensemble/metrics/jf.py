"""J and F of frames, bit-exact to the DAVIS definition.

J, region similarity: the Jaccard index of two masks. F, contour accuracy: the harmonic mean of precision and recall of
boundary pixels, where a boundary pixel is right when the other boundary passes within a small radius.

Source: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016, Sec. 5;
boundaries are those of Martin et al., Learning to Detect Natural Image Boundaries, PAMI 2004.

Pitfalls, kept because published numbers include them:

- Two empty masks have J = F = 1; one empty mask has J = 0.
- The image's border is no boundary. A mask of the full frame therefore has none: against an empty mask F = 1, J = 0.
- Void pixels become background in both masks before boundaries are computed, so the outline of the void counts.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_EQUAL, ratio
from rvos_ensemble.ensemble.fusion.bits import Bits, pack

BOUND_TH = 0.008  # of the image's diagonal; DAVIS 2016


class Prepared:
    """One mask, or N, with everything that scoring needs; each part is computed at most once for all comparisons.

    Args:
        packed: uint8 [H, ceil(W / 8)] or [N, H, ceil(W / 8)] of `bits.pack`; bits beyond W are 0.
        size: (H, W).
        bound_th: radius of F, see `radius_of`.
    """

    def __init__(self, packed: np.ndarray, size: tuple[int, int], bound_th: float = BOUND_TH):
        self.size = size
        self.radius = radius_of(size, bound_th)
        self.single = packed.ndim == 2
        self.bits = Bits.crop(packed[None] if self.single else packed, margin=self.radius + 1)

    def __len__(self) -> int:
        return len(self.bits.words)

    @cached_property
    def area(self) -> np.ndarray:
        """Number of foreground pixels, int64 [N]."""
        return self.bits.count()

    @cached_property
    def boundary(self) -> Bits:
        """Boundary pixels, which lie half a pixel from the true outline towards the origin."""
        return self.bits.boundary(self.size)

    @cached_property
    def length(self) -> np.ndarray:
        """Number of boundary pixels, int64 [N]."""
        return self.boundary.count()

    @cached_property
    def near(self) -> Bits:
        """Pixels within the radius of the boundary."""
        return self.boundary.dilate(self.radius)

    @property
    def key(self) -> tuple:
        """A hashable key, equal for equal masks of one size and radius."""
        return self.bits.top, self.bits.left, self.bits.words.shape, self.bits.words.tobytes()


def prepare(masks: np.ndarray, bound_th: float = BOUND_TH, void: np.ndarray | None = None) -> Prepared:
    """Prepares masks for any number of comparisons.

    Args:
        masks: bool [H, W], or [N, H, W]: N nearby frames cost less together than one by one.
        bound_th: radius of F, see `radius_of`.
        void: bool of the same shape, pixels that do not count; pass the same to both sides of a comparison.

    Raises:
        InputError: masks that are not bool [H, W] or [N, H, W], or a void of another shape.
    """
    packed = pack(_checked(masks, "mask"))
    if void is not None:
        void = _checked(void, "void")
        if void.shape != masks.shape:
            raise InputError(f"void of shape {void.shape}, expected the mask's {masks.shape}")
        packed &= ~pack(void)
    return Prepared(packed, masks.shape[-2:], bound_th)


def j_and_f(
    prediction: np.ndarray | Prepared,
    truth: np.ndarray | Prepared,
    bound_th: float = BOUND_TH,
    void: np.ndarray | None = None,
) -> tuple[float, float] | tuple[np.ndarray, np.ndarray]:
    """J and F of one frame, or of N.

        J = |P & G| / |P | G|
        F = 2 p r / (p + r),  p = |bP & D(bG)| / |bP|,  r = |bG & D(bP)| / |bG|

    where b is the boundary of a mask and D the dilation by a disk. Both are symmetric in P and G.

    Args:
        prediction: P, bool [H, W] or [N, H, W], or prepared.
        truth: G, likewise. One mask is compared with any number of masks on the other side.
        bound_th: radius of D for masks that are not prepared, see `radius_of`.
        void: pixels that do not count, for masks that are not prepared; bool of their shape.

    Returns:
        (J, F), each in [0, 1]: floats for one mask and one mask, else float64 [N].

    Raises:
        InputError: masks of different sizes, numbers or radii, or not bool.

    Source: Perazzi et al., CVPR 2016, Sec. 5.

    >>> truth = np.zeros((4, 4), bool)
    >>> truth[1:3, 1:3] = True
    >>> j_and_f(truth, truth)
    (1.0, 1.0)
    >>> j_and_f(np.roll(truth, 1, axis=1), truth)  # 2 of 6 pixels; boundaries meet within the radius of 1
    (0.3333333333333333, 1.0)
    """
    p, g = (m if isinstance(m, Prepared) else prepare(m, bound_th, void) for m in (prediction, truth))
    if (p.size, p.radius) != (g.size, g.radius) or len({len(p), len(g)} - {1}) > 1:
        raise InputError(
            f"{len(p)} predicted masks of size {p.size}, radius {p.radius}; {len(g)} true ones of {g.size}, radius "
            f"{g.radius}: expected the same"
        )
    both = p.bits.count_common(g.bits)
    j = j_of_counts(both, p.area + g.area - both)
    if p.bits.meets(g.bits):
        right, matched = p.boundary.count_common(g.near), g.boundary.count_common(p.near)
    else:  # too far apart for any boundary pixel to be right: saves two dilations
        right, matched = np.zeros_like(p.length), np.zeros_like(g.length)
    f = f_of_counts(right, p.length, matched, g.length)
    return (float(j[0]), float(f[0])) if p.single and g.single else (j, f)


def j_of_counts(both: np.ndarray, either: np.ndarray) -> np.ndarray:
    """J, float64, from the number of pixels in both masks and in either; int64 of one shape."""
    return ratio(both, either, EMPTY_IS_EQUAL)


def f_of_counts(
    right: np.ndarray, length: np.ndarray, matched: np.ndarray, truth_length: np.ndarray | int
) -> np.ndarray:
    """F, float64, from counts of boundary pixels.

    Args:
        right: those of the prediction that are near the truth's, int64.
        length: all of the prediction.
        matched: those of the truth that are near the prediction's.
        truth_length: all of the truth.
    """
    truth_length = np.asarray(truth_length)
    precision, recall = ratio(right, length, 0.0), ratio(matched, truth_length, 0.0)
    f = ratio(2 * precision * recall, precision + recall, 0.0)
    f[(length == 0) & (truth_length == 0)] = 1.0
    return f


@lru_cache
def radius_of(size: tuple[int, int], bound_th: float = BOUND_TH) -> int:
    """The largest distance of matching boundary pixels: a share of the diagonal, rounded up, or pixels if 1 or more.

    Raises:
        InputError: negative, or pixels that are not a whole number.

    >>> radius_of((480, 854)), radius_of((720, 1280)), radius_of((480, 854), 3)
    (8, 12, 3)
    """
    if bound_th < 0 or (bound_th >= 1 and bound_th != int(bound_th)):
        raise InputError(f"bound_th is {bound_th}, expected a share of the diagonal in [0, 1) or whole pixels from 1")
    return int(bound_th if bound_th >= 1 else np.ceil(bound_th * np.linalg.norm(size)))


def _checked(masks: np.ndarray, what: str) -> np.ndarray:
    """The masks, if they are bool [H, W] or [N, H, W]."""
    if not isinstance(masks, np.ndarray):
        raise InputError(f"{what} of type {type(masks).__name__}, expected an array, bool [H, W] or [N, H, W]")
    if masks.ndim not in (2, 3) or masks.dtype != bool:
        raise InputError(
            f"{what} of dtype {masks.dtype} and shape {masks.shape}, expected bool [H, W] or [N, H, W]: select the "
            "object first, as in `mask == 255` or `probability > 0.5`"
        )
    return masks
