#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: model.export() of a SavedModel traces the network three times, which is most
# of its time for a network of many layers. Once to see which variables an endpoint uses, once more inside
# tf.saved_model.save(), and once for the tracked model itself. tf.saved_model.save() sets a context of its
# own, and the cache of a tf.function holds its traces by context, so that a function that was called or traced
# before is traced again there, without a message. A concrete function is kept as it is: with the
# variables alone tracked, the network is traced once.
#
# Seen (calls of a layer of the network):
#   model.export: 3
#   ExportArchive with the model tracked: 3
#   tf.saved_model.save of a function that was called before: 2
#   tf.saved_model.save of a concrete function: 1
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
import tempfile

import keras
import tensorflow as tf

calls = []


class Doubled(keras.layers.Layer):
    def call(self, images):
        calls.append(images)
        return 2.0 * images


def report(text, export):
    calls.clear()
    export(tempfile.mkdtemp())
    print(f"{text}: {len(calls)}")


def network(images):
    return model(images, training=False)


def by_archive(folder):
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", network, [spec])
    archive.write_out(folder, verbose=False)


def by_tensorflow(folder, prepare):
    function = prepare(tf.function(network, input_signature=[spec]))
    root = tf.Module()
    root.kept = [variable.value for variable in model.variables]
    tf.saved_model.save(root, folder, signatures={"serve": function})


def called(function):
    function(tf.zeros((1, 8, 8, 3)))
    return function


images = keras.Input((None, None, 3))
model = keras.Model(images, Doubled()(keras.layers.Conv2D(4, 3)(images)))
spec = tf.TensorSpec((None, None, None, 3))
report("model.export", lambda folder: model.export(folder, verbose=False))
report("ExportArchive with the model tracked", by_archive)
report(
    "tf.saved_model.save of a function that was called before",
    lambda folder: by_tensorflow(folder, called),
)
report(
    "tf.saved_model.save of a concrete function",
    lambda folder: by_tensorflow(folder, lambda f: f.get_concrete_function()),
)
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
