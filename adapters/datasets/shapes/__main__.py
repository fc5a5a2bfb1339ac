"""Contact sheets: `python -m rvos_ensemble.adapters.datasets.shapes OUT.jpg [SEED [BENCHMARK]]`."""

import sys

import cv2

from rvos_ensemble.adapters.datasets.shapes.sheet import levels_sheet

if not 2 <= len(sys.argv) <= 4:
    sys.exit("usage: python -m rvos_ensemble.adapters.datasets.shapes OUT.jpg [SEED [BENCHMARK]]")
sheet = levels_sheet(*map(int, sys.argv[2:3]), *sys.argv[3:])
quality = [cv2.IMWRITE_JPEG_QUALITY, 75] if sys.argv[1].endswith(".jpg") else []
cv2.imwrite(sys.argv[1], sheet[..., ::-1], quality)
