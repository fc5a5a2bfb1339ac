"""A contact sheet: `python -m adapters.datasets.shapes OUT.png [SEED]`, of one sentence with `SEED CLIP EXPRESSION`."""

import sys

import cv2

from adapters.datasets.shapes.sheet import clips_sheet, models_sheet

if not 2 <= len(sys.argv) <= 5 or len(sys.argv) == 4:
    sys.exit("usage: python -m adapters.datasets.shapes OUT.png [SEED [CLIP EXPRESSION]]   (numbers from 0)")
numbers = [int(n) for n in sys.argv[2:]]
sheet = models_sheet(*numbers) if len(numbers) == 3 else clips_sheet(*numbers)
cv2.imwrite(sys.argv[1], sheet[..., ::-1])
