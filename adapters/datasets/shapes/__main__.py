"""Contact sheets: `python -m adapters.datasets.shapes OUT.jpg [SEED]`, of one sentence with `SEED CLIP EXPRESSION`."""

import sys

import cv2

from adapters.datasets.shapes.sheet import levels_sheet, models_sheet

if not 2 <= len(sys.argv) <= 5 or len(sys.argv) == 4:
    sys.exit("usage: python -m adapters.datasets.shapes OUT.jpg [SEED [CLIP EXPRESSION]]   (numbers from 0)")
numbers = [int(n) for n in sys.argv[2:]]
sheet = models_sheet(*numbers) if len(numbers) == 3 else levels_sheet(*numbers)
quality = [cv2.IMWRITE_JPEG_QUALITY, 75] if sys.argv[1].endswith(".jpg") else []
cv2.imwrite(sys.argv[1], sheet[..., ::-1], quality)
