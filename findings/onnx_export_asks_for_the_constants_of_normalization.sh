#!/usr/bin/env bash
# tf2onnx 1.17.0, and Keras 3.15.1's `model.export(format="onnx")` with it, on TensorFlow 2.21.0: a
# constant that a function captures as an eager tensor becomes a required input of the ONNX file,
# although the graph holds it as a constant. `Normalization` computes with such tensors, and every
# EfficientNet of keras.applications begins with that layer. Nothing warns: the file is written and
# passes onnx.checker, and the first run fails. Freezing the graph with the images as its only input
# (tf2onnx.tf_loader.from_function, then tf2onnx.convert.from_graph_def) gives a file that runs.
#
# Seen:
#   inputs of the Keras model: 1
#   inputs of Keras's export: ['images', 'Sqrt/x:0', 'Sub/y:0']
#   inputs of tf2onnx.convert.from_function: ['images', 'Sqrt/x:0', 'Sub/y:0']
#   run with the images alone: ValueError
#   inputs of from_graph_def: ['images']
#   largest difference from Keras below 1e-5: True
#
# Exits with status 0 while this holds, with 1 once it changes.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 \
  onnxruntime==1.32.0 >/dev/null 2>&1
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES=-1

seen="$("$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import re

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from tf2onnx import tf_loader

draw = np.random.default_rng(0)
images = draw.random((2, 8, 8, 3), dtype=np.float32)
layer = keras.layers.Normalization()
layer.adapt(images)
inputs = keras.Input((8, 8, 3), name="images")
model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(layer(inputs)))
expected = np.asarray(model(images))
print("inputs of the Keras model:", len(model.inputs))


def session(name):
    onnx.checker.check_model(name)
    return onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])


def names(session):
    return sorted(
        (re.sub(r"^.*/(?=\w+/\w:0$)", "", entry.name) for entry in session.get_inputs()),
        key=lambda name: (name != "images", name),
    )


model.export("keras.onnx", format="onnx", verbose=False)
print("inputs of Keras's export:", names(session("keras.onnx")))

spec = tf.TensorSpec((None, 8, 8, 3), tf.float32, "images")
function = tf.function(lambda images: model(images), input_signature=[spec])
tf2onnx.convert.from_function(function, [spec], opset=17, output_path="function.onnx")
broken = session("function.onnx")
print("inputs of tf2onnx.convert.from_function:", names(broken))
try:
    print("run with the images alone:", broken.run(None, {"images": images})[0].shape)
except Exception as error:
    print("run with the images alone:", type(error).__name__)

concrete = function.get_concrete_function()
ends = [concrete.inputs[0].name], [concrete.outputs[0].name]
graph = tf_loader.from_function(concrete, *ends)
tf2onnx.convert.from_graph_def(
    graph, input_names=ends[0], output_names=ends[1], opset=17, output_path="graph.onnx",
    tensors_to_rename={ends[0][0]: "images"},
)
good = session("graph.onnx")
print("inputs of from_graph_def:", names(good))
difference = np.abs(good.run(None, {"images": images})[0] - expected).max()
print("largest difference from Keras below 1e-5:", bool(difference < 1e-5))
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
