"""Contact sheets: `python -m rvos_ensemble.adapters.datasets.shapes OUT.jpg [SEED]`."""

import sys

import cv2

from rvos_ensemble.adapters.datasets.shapes.sheet import levels_sheet

if not 2 <= len(sys.argv) <= 3:
    sys.exit("usage: python -m rvos_ensemble.adapters.datasets.shapes OUT.jpg [SEED]")
sheet = levels_sheet(*[int(n) for n in sys.argv[2:]])
quality = [cv2.IMWRITE_JPEG_QUALITY, 75] if sys.argv[1].endswith(".jpg") else []
cv2.imwrite(sys.argv[1], sheet[..., ::-1], quality)
