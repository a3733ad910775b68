#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: `BatchNormalization(synchronized=True)`, which many training
# scripts set whatever the machine, computes the batch variance as E[x^2] - E[x]^2 in float32, on a
# single device too. Where a channel's mean is large beside its deviation, the variance is lost to
# rounding: it is off in the first digit at a mean of 1,000 deviations and 0 at 10,000, and so is
# the moving variance that is stored and moved to other networks. `synchronized=False` is exact.
# Data: 64 x 16 x 16 draws of a normal distribution of deviation 1, one channel.
#
# Seen:
#   mean   100: moving variance 0.99 (synchronized 0.99)
#   mean  1000: moving variance 0.99 (synchronized 1.06)
#   mean  3000: moving variance 0.99 (synchronized 1.00)
#   mean 10000: moving variance 0.99 (synchronized 0.00), outputs' deviation 1.0 (synchronized 31.5)
#
# Exits with status 0 while this holds, with 1 once it changes.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 keras==3.15.1 >/dev/null 2>&1
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES=-1

seen="$("$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import keras
import numpy as np



def normalized(mean, synchronized):
    data = (mean + np.random.default_rng(0).normal(size=(64, 16, 16, 1))).astype("float32")
    layer = keras.layers.BatchNormalization(momentum=0.0, synchronized=synchronized)
    outputs = np.asarray(layer(data, training=True))
    return float(layer.moving_variance.numpy()[0]), float(outputs.std())


for mean in (100, 1000, 3000, 10000):
    (plain, plain_out), (synced, synced_out) = normalized(mean, False), normalized(mean, True)
    line = f"mean {mean:5}: moving variance {plain:.2f} (synchronized {synced:.2f})"
    if mean == 10000:
        line += f", outputs' deviation {plain_out:.1f} (synchronized {synced_out:.1f})"
    print(line)
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
