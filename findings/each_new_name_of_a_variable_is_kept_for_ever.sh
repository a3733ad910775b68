#!/usr/bin/env bash
# TensorFlow 2.21.0 with Keras 3.15.1: a variable whose name was not used before in the process costs some 36 kB that
# are never given back, and takes over twice the time of a variable whose name was. TensorFlow keeps a prepared
# VarHandleOp for each set of its attributes; that caused the same growth years ago through the attribute
# shared_name, which is constant since (issue 19671 of tensorflow/tensorflow), and now does through debug_name.
# Keras numbers unnamed optimizers and layers: a program that trains the same network
# again and again keeps, after each training, 36 kB for each variable of its optimizer, 15 MB for the 430
# of AdamW on keras.applications.ResNet50; with `name="adamw"` nothing. What holds them is not Python's: the garbage
# collector counts no object more. keras.backend.clear_session() frees them, and all other prepared operations.
#
# Seen (36.1 kB and 36.1 kB; 1.2 ms and 0.4 ms a variable on a busy processor):
#   unnamed optimizers: 20 to 60 kB a variable stay
#   optimizers of one name: below 2 kB a variable stay
#   variables of new names: 20 to 60 kB each stay
#   the same names again: below 2 kB each stay
#   new names against old ones: over twice the processor time
#   handles that differ in debug_name alone: 20 to 60 kB each stay
#   more Python objects: 0
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
import gc
import resource
import time

import keras
import tensorflow as tf

PAGE = resource.getpagesize()
value = tf.zeros([10])
layer = keras.layers.Dense(4, name="layer")
layer.build((None, 4))
new = iter(range(10**9))


def held():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def said(growth):
    if growth < 2e3:
        return "below 2 kB"
    return "20 to 60 kB" if 20e3 < growth < 60e3 else f"{growth / 1e3:.1f} kB"


def optimizers(name):
    """Bytes that stay for each variable of 100 optimizers, after 10 others."""
    for number in range(110):
        if number == 10:
            before = held()
        optimizer = keras.optimizers.AdamW(name=name)
        optimizer.build(layer.trainable_variables)
    count = len(optimizer.variables)
    del optimizer
    return (held() - before) / (100 * count)


def variables(names):
    """Bytes that stay for each variable, and seconds for all."""
    before, started = held(), time.process_time()
    for name in names:
        tf.Variable(value, name=name)
    seconds = time.process_time() - started
    return (held() - before) / len(names), seconds


def handles(names):
    before = held()
    for name in names:
        tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=[10], shared_name="one", debug_name=name
        )
    return (held() - before) / len(names)


print("unnamed optimizers:", said(optimizers(None)), "a variable stay")
print("optimizers of one name:", said(optimizers("adamw")), "a variable stay")
variables(["warm"] * 100)
objects = len(gc.get_objects())
names = [f"name_{next(new)}" for _ in range(1000)]
kept, slow = variables(names)
print("variables of new names:", said(kept), "each stay")
again, fast = variables(names)
print("the same names again:", said(again), "each stay")
print(
    "new names against old ones:",
    "over twice" if slow > 2 * fast else f"{slow / fast:.1f} times",
    "the processor time",
)
del names, kept, slow, again, fast
growth = handles([f"debug_{next(new)}" for _ in range(1000)])
print("handles that differ in debug_name alone:", said(growth), "each stay")
del growth
gc.collect()
more = len(gc.get_objects()) - objects
print("more Python objects:", 0 if more < 20 else more)
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
