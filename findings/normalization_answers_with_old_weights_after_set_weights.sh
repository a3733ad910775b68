#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: `Normalization` computes with tensors derived from its weights
# `mean` and `variance`, and `set_weights` does not derive them again. Two models whose
# `get_weights()` are equal to the last bit then answer differently, without a warning.
# `load_weights` derives them again, but a `predict` that was compiled before keeps the old ones.
# Whoever moves weights by get_weights/set_weights must call `finalize_state()` of each such layer
# and drop compiled functions (`model.make_predict_function(force=True)`).
#
# Seen:
#   weights equal after set_weights: True
#   outputs equal after set_weights: False
#   outputs equal after finalize_state: True
#   outputs of the compiled predict equal then: False
#   outputs of predict equal after make_predict_function(force=True): True
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

x = np.arange(12, dtype=np.float32).reshape(6, 2)


def network(data):
    layer = keras.layers.Normalization()
    layer.adapt(data)
    inputs = keras.Input((2,))
    return keras.Model(inputs, layer(inputs)), layer


donor, _ = network(x)
recipient, layer = network(100 * x + 5)
recipient.predict(x, verbose=0)
expected = donor(x).numpy()
recipient.set_weights(donor.get_weights())
pairs = zip(donor.get_weights(), recipient.get_weights())
print("weights equal after set_weights:", all(np.array_equal(a, b) for a, b in pairs))
print("outputs equal after set_weights:", np.allclose(recipient(x), expected))
layer.finalize_state()
print("outputs equal after finalize_state:", np.allclose(recipient(x), expected))
compiled = recipient.predict(x, verbose=0)
print("outputs of the compiled predict equal then:", np.allclose(compiled, expected))
recipient.make_predict_function(force=True)
fresh = np.allclose(recipient.predict(x, verbose=0), expected)
print("outputs of predict equal after make_predict_function(force=True):", fresh)
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
