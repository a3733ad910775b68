#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: keras.utils.set_random_seed(), and tf.random.set_seed() below it, drop all
# functions that TensorFlow has prepared to run, of every model in the process. None is traced again, but each
# is optimized again in its next call, without a message. A program that evaluates one network
# and now and then builds another with a seed of its own thus pays for optimization all the time. Networks of
# Keras's layers need none of it: their values are drawn by stateless operations. Inside
# tf.Graph().as_default() the same call seeds Python, NumPy and Keras, gives a network the same values,
# and leaves the functions.
#
# Seen (with three other processes at work: the first call took 1.8 to 2.3 s, others 9 ms):
#   traced: 1 time
#   call after set_random_seed: over 10 times a call
#   call after set_random_seed inside a graph: below 3 times a call
#   traced: 1 time
#   same initial values from both: True
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
import statistics
import time

import keras
import numpy as np
import tensorflow as tf


def build():
    inputs = outputs = keras.Input((8, 8, 4))
    for _ in range(60):
        outputs = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(outputs)
        outputs = keras.layers.BatchNormalization()(outputs)
    return keras.Model(inputs, outputs)


def seed_inside_a_graph():
    with tf.Graph().as_default():
        keras.utils.set_random_seed(1)


def milliseconds():
    started = time.perf_counter()
    evaluate(images).numpy()
    return 1000 * (time.perf_counter() - started)


def ratio(seed):
    """The lowest of five first calls after seeding, in medians of other calls."""
    first = []
    for _ in range(5):
        seed()
        first.append(milliseconds())
    return min(first) / statistics.median(milliseconds() for _ in range(20))


model, images, traces = build(), tf.ones([1, 8, 8, 4]), []


@tf.function
def evaluate(images):
    traces.append(1)
    return model(images, training=False)


milliseconds()
print("traced:", len(traces), "time")
plain = ratio(lambda: keras.utils.set_random_seed(1))
print("call after set_random_seed:", "over 10 times a call" if plain > 10 else plain)
inside = ratio(seed_inside_a_graph)
print(
    "call after set_random_seed inside a graph:",
    "below 3 times a call" if inside < 3 else inside,
)
print("traced:", len(traces), "time")
keras.utils.set_random_seed(1)
values = build().get_weights()
seed_inside_a_graph()
same = all(map(np.array_equal, values, build().get_weights()))
print("same initial values from both:", same)
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
