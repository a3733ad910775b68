#!/usr/bin/env bash
# TensorFlow 2.21.0 on a CPU, Keras 3.15.1: the batch's mean and variance, which BatchNormalization
# takes by tf.nn.moments, are sums in float32 that are added one value after another for each
# channel. Beyond 2^24 = 16,777,216 values a channel (16 images of 1024 x 1024 pixels) adding 1
# changes the sum no more: 32 images that are 1 everywhere have the mean 0.5 and the variance 0.125,
# and both go into the moving statistics that are stored and moved to other networks. At 2^24 values
# of mean 5 and deviation 1 the mean is off by 0.13 already. With a single channel, which is summed
# in another way, they are right; so are means that are taken axis by axis.
# Data: constant images, and draws of a normal distribution; 2 channels where not said otherwise.
#
# Seen:
#   32 x 1024 x 1024 ones, 1 channel : moving mean 1.00, moving variance 0.00
#   32 x 1024 x 1024 ones, 2 channels: moving mean 0.50, moving variance 0.12
#   16 x 1024 x 1024 of mean 5.00 and variance 1.00: moving mean 5.13, moving variance 0.99
#   the same, mean axis by axis: 5.00
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
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(2)


def statistics(data):
    layer = keras.layers.BatchNormalization(momentum=0.0)
    layer(data, training=True)
    mean, variance = (float(v.numpy()[0]) for v in (layer.moving_mean, layer.moving_variance))
    return f"moving mean {mean:.2f}, moving variance {variance:.2f}"


for channels, words in ((1, "1 channel "), (2, "2 channels")):
    ones = np.ones((32, 1024, 1024, channels), np.float32)
    print(f"32 x 1024 x 1024 ones, {words}: {statistics(ones)}")
drawn = 5 + np.random.default_rng(0).standard_normal((16, 1024, 1024, 2), np.float32)
truth = f"mean {drawn.mean(dtype=np.float64):.2f} and variance {drawn.var(dtype=np.float64):.2f}"
print(f"16 x 1024 x 1024 of {truth}: {statistics(drawn)}")
mean = tf.constant(drawn)
for axis in (2, 1, 0):
    mean = tf.reduce_mean(mean, axis)
print(f"the same, mean axis by axis: {float(mean[0]):.2f}")
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
