#!/usr/bin/env bash
# TensorFlow 2.21.0 with oneDNN (TF_ENABLE_ONEDNN_OPTS=1, the default on some CPUs only) keeps the primitives of forward
# convolutions and of gradients with respect to images from step to step, but describes and makes that of every kernel's
# gradient anew in each step. oneDNN's own cache saves the compilation, not the search for an implementation. The
# reason stands in mkl_conv_grad_filter_ops.cc: such primitives once held large buffers, and are kept only with
# TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE=false, which no message names. A step of a small UNet (width 8,
# 8 images of 32 x 32 pixels, one core without AVX-512) takes 0.9 of the time with it; its losses and the memory are the same.
#
# Seen: primitives that oneDNN was asked to make in each of the last three training steps of a network of four convolutions
#   as it comes: 4 4 4
#   TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE=false: 0 0 0
#   the same losses: True
#
# Exits with status 0 while this holds, with 1 once it changes.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 keras==3.15.1 >/dev/null 2>&1
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES=-1 TF_ENABLE_ONEDNN_OPTS=1

cat > steps.py <<'PYTHON'
import keras
import tensorflow as tf

# One thread runs all operations: each thread has a cache of its own.
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
keras.utils.set_random_seed(0)
inputs = outputs = keras.Input((16, 16, 8))
for _ in range(4):
    outputs = keras.layers.Conv2D(8, 3, padding="same")(outputs)
model = keras.Model(inputs, outputs)
model.compile("sgd", "mse")
images = tf.random.stateless_uniform([2, 16, 16, 8], seed=[1, 2])
for number in range(6):
    print("step", flush=True)
    loss = model.train_on_batch(images, images)
    print("loss", float(loss), flush=True)
PYTHON

# ONEDNN_VERBOSE=2 writes a line for each primitive that is made.
counts() {
  ONEDNN_VERBOSE=2 "$folder/venv/bin/python" steps.py 2>/dev/null > log || return
  grep loss log > "losses_$1"
  awk '$1 == "step" { steps++ } /onednn_verbose.*,create:.*backward_weights/ { made[steps]++ }
       END { print made[steps - 2] + 0, made[steps - 1] + 0, made[steps] + 0 }' log
}

seen="as it comes: $(counts default)
TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE=false: $(TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE=false counts kept)
the same losses: $(cmp -s losses_default losses_kept && echo True || echo False)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
