#!/usr/bin/env bash
# TensorFlow 2.21.0 beside Pillow 13.0.0, one JPEG file in colour: `tf.io.decode_jpeg` (and
# `decode_image`) takes libjpeg's fast transform by default, Pillow the accurate one, and the
# pixels differ by several grey levels. With dct_method="INTEGER_ACCURATE" they are equal to the
# last bit. As one channel they differ more: TensorFlow takes the file's luminance, Pillow
# computes it from the decoded colours, which were clipped to 0..255 in between; for PNG files the
# two also round apart. A network that is trained on the one and served with the other sees other
# images. Equal: decode three channels accurately, then
# (19595 R + 38470 G + 7471 B + 32768) >> 16, which is Pillow's.
#
# Seen (largest difference over all pixels, of 255):
#   JPEG, 3 channels, default: 4
#   JPEG, 3 channels, accurate: 0
#   JPEG, 1 channel, accurate: 19
#   PNG, 1 channel: 1
#   JPEG, grey from accurate colours: 0
#
# Exits with status 0 while this holds, with 1 once it changes.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 pillow==13.0.0 >/dev/null 2>&1
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1

cat > compare.py <<'PYTHON'
import io

import numpy as np
import tensorflow as tf
from PIL import Image

# A drawing of the sort that segmentation data sets hold: flat saturated colours and a gradient.
y, x = np.mgrid[:96, :128]
image = np.stack([2 * x, 255 - 2 * y, x + y], -1).clip(0, 255).astype(np.uint8)
for i, colour in enumerate(([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0])):
    image[(y - 24 - 40 * (i // 2)) ** 2 + (x - 30 - 60 * (i % 2)) ** 2 < 300] = colour


def encoded(form, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


def pillow(content, mode):
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode)).astype(int)


def show(name, tensor, wanted):
    print(f"{name}:", np.abs(tensor.numpy().astype(int).reshape(wanted.shape) - wanted).max())


jpeg, png = encoded("JPEG", quality=80), encoded("PNG")
exact = {"dct_method": "INTEGER_ACCURATE"}
show("JPEG, 3 channels, default", tf.io.decode_jpeg(jpeg, 3), pillow(jpeg, "RGB"))
show("JPEG, 3 channels, accurate", tf.io.decode_jpeg(jpeg, 3, **exact), pillow(jpeg, "RGB"))
show("JPEG, 1 channel, accurate", tf.io.decode_jpeg(jpeg, 1, **exact), pillow(jpeg, "L"))
show("PNG, 1 channel", tf.io.decode_png(png, 1), pillow(png, "L"))
r, g, b = tf.unstack(tf.cast(tf.io.decode_jpeg(jpeg, 3, **exact), tf.int32), axis=-1)
grey = (19595 * r + 38470 * g + 7471 * b + 32768) // 65536
show("JPEG, grey from accurate colours", grey, pillow(jpeg, "L"))
PYTHON
seen="$("$folder/venv/bin/python" compare.py 2>/dev/null)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
