#!/usr/bin/env bash
# Pillow 13.0.0 opens a PNG with 16 bits a channel and colour as 8-bit "RGB": ids above 255 in a label map are gone.
# Behaviour: the upper byte is kept, mode and info say nothing of 16 bits; OpenCV reads the same file as uint16.
# A grey PNG of 16 bits opens in a mode of its own ("I;16"), so the loss shows with colour (or alpha) alone.
# Seen: "Pillow RGB [1, 0, 1] of [256, 5, 511], info says 16: False; OpenCV uint16 [256, 5, 511]".
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" -q install pillow==13.0.0 numpy==2.4.6 opencv-python-headless==4.14.0.94 2> /dev/null
cd "$work"
env/bin/python - <<'PY'
import sys
import cv2
import numpy as np
import PIL
from PIL import Image
ids = [256, 5, 511]
cv2.imwrite("map.png", np.array([[[0, 0, i] for i in ids]], np.uint16))  # blue, green, red
with Image.open("map.png") as image:
    mode, red, told = image.mode, np.asarray(image)[0, :, 0].tolist(), "16" in str(image.info)
whole = cv2.imread("map.png", cv2.IMREAD_UNCHANGED)
print(f"Pillow {PIL.__version__}: {mode} {red} of {ids}, info says 16: {told}; OpenCV {whole.dtype} {whole[0, :, 2].tolist()}")
sys.exit(not (mode == "RGB" and red == [i >> 8 for i in ids] and not told and whole[0, :, 2].tolist() == ids))
PY
