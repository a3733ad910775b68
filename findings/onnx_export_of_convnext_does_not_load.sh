#!/usr/bin/env bash
# Keras 3.15.1's `model.export(format="onnx")` with tf2onnx 1.17.0 on TensorFlow 2.21.0: two layers of
# ConvNeXt become nodes that ONNX does not have. The export logs it and returns as if it had worked,
# and ONNX Runtime 1.32.0 refuses the file (InvalidGraph).
# - Conv2D with groups: Keras compiles grouped convolutions of [B, H, W, C] as a function of their own
# (jit_compile=True), which is not inlined when the graph is frozen: StatefulPartitionedCall.
# DepthwiseConv2D, which computes the same as one channel a group, is exported well.
# - gelu, exact, Keras's default: TensorFlow computes it by Erfc, and tf2onnx knows Erf alone.
# gelu with approximate=True is exported well.
# With tf.config.run_functions_eagerly(True) while the graph is traced, the inner function is part of
# the outer graph, and tf2onnx writes a Conv with its groups; custom_op_handlers={"Erfc": ...} of
# tf2onnx can write 1 - Erf.
#
# Seen:
#   depthwise convolution: ['Conv'], runs
#   grouped convolution: ['StatefulPartitionedCall'], InvalidGraph
#   approximate gelu: ['Tanh'], runs
#   exact gelu: ['Erfc'], InvalidGraph
#   keras.applications.ConvNeXtTiny: ['Conv', 'Erfc', 'StatefulPartitionedCall'], InvalidGraph
#   grouped convolution, inner functions traced: ['Conv'], runs
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
import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from keras import layers

NODES = {"Conv", "StatefulPartitionedCall", "Erfc", "Tanh"}
images = np.random.default_rng(0).random((2, 32, 32, 4), dtype=np.float32)


def network(layer):
    inputs = keras.Input((32, 32, 4), name="images")
    return keras.Model(inputs, layer(inputs))


def exported(title, model):
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras wants a call before
    model.export("model.onnx", format="onnx", verbose=False)
    nodes = {node.op_type for node in onnx.load("model.onnx").graph.node}
    try:
        session = onnxruntime.InferenceSession(
            "model.onnx", providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        session, state = None, type(error).__name__
    else:
        state = "runs"
    print(f"{title}: {sorted(nodes & NODES)}, {state}", flush=True)
    return session


grouped = network(layers.Conv2D(4, 3, groups=4))
exported("depthwise convolution", network(layers.DepthwiseConv2D(3)))
exported("grouped convolution", grouped)
approximate = layers.Lambda(lambda x: keras.activations.gelu(x, approximate=True))
exported("approximate gelu", network(approximate))
exported("exact gelu", network(layers.Activation("gelu")))
exported(
    "keras.applications.ConvNeXtTiny",
    keras.applications.ConvNeXtTiny(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    ),
)
tf.config.run_functions_eagerly(True)
session = exported("grouped convolution, inner functions traced", grouped)
tf.config.run_functions_eagerly(False)
(name,) = (entry.name for entry in session.get_inputs())
difference = np.abs(session.run(None, {name: images})[0] - np.asarray(grouped(images)))
print("largest difference from Keras below 1e-5:", bool(difference.max() < 1e-5))
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
