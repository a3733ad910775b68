#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0, tf.distribute.MirroredStrategy: `global_clipnorm` (and `clipnorm`) of an
# optimizer shortens the gradient of each device by itself, before the sum over devices. The update can
# be as many times longer than the norm asked for as there are devices, and points elsewhere than the
# clipped gradient of the whole batch: an image whose gradient is small counts as much as one whose
# gradient is large. On one device the same data and settings give the norm that was asked for.
#
# The gradients of the two images are 100 and 1 in the first parameter, 0 and 1 in the second; one update of
# SGD with rate 1, clipped to a norm of 1. The logical devices of a CPU stand for GPUs.
#
# Seen:
#   one device: length 1.00, second parameter 0.01 of the first
#   two devices: length 1.85, second parameter 0.41 of the first
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

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
images = np.array([[100.0, 0.0], [1.0, 1.0]], np.float32)


def report(title, strategy):
    with strategy.scope():
        inputs = keras.Input((2,))
        dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        model = keras.Model(inputs, dense(inputs))
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
        model.compile(optimizer, loss=lambda truth, output: keras.ops.mean(output))
    batches = tf.data.Dataset.from_tensor_slices((images, np.zeros((2, 1)))).batch(2)
    model.fit(batches, verbose=0)
    update = -model.get_weights()[0][:, 0]
    length, share = np.linalg.norm(update), update[1] / update[0]
    print(f"{title}: length {length:.2f}, second parameter {share:.2f} of the first")


report("one device", tf.distribute.OneDeviceStrategy("CPU:0"))
report("two devices", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
