#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: a layer that stands in a model and in a model inside it is one
# layer, with one kernel, until the model is saved. Its `.keras` file cannot be loaded: the file has
# the values once, under the inner model, and the loader asks for them twice. Its `.h5` file loads without
# a word as two layers of the same name and path, which training then drives apart. Only `.weights.h5`,
# loaded into a model that the same code builds, gives the network back. Shared encoders and
# siamese networks are built this way. Keras 2 duplicated such layers too (keras-team/keras #10898).
#
# Seen:
#   variables as built: ['shared/kernel', 'shared/bias']
#   .keras: ValueError, A total of 1 objects could not be loaded.
#   .h5: same output, 4 variables: ['shared/kernel', 'shared/bias', 'shared/kernel', 'shared/bias']
#   .h5: kernels equal after a step of training: False
#   .weights.h5: same output, 2 variables: ['shared/kernel', 'shared/bias']
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

images = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def build():
    shared = keras.layers.Dense(4, name="shared")
    features = keras.Input((4,))
    inner = keras.Model(features, shared(features), name="inner")
    inputs = keras.Input((4,))
    return keras.Model(inputs, shared(inner(inputs)))


def describe(ending, loaded):
    same = np.allclose(loaded(images), model(images), atol=1e-6)
    paths = [variable.path for variable in loaded.variables]
    output = "same output" if same else "another output"
    print(f"{ending}: {output}, {len(paths)} variables: {paths}")


model = build()
print("variables as built:", [variable.path for variable in model.variables])
model.save("model.keras")
try:
    describe(".keras", keras.models.load_model("model.keras"))
except ValueError as error:
    print(".keras: ValueError,", str(error).partition(". Example")[0].rstrip(".") + ".")
model.save("model.h5")
loaded = keras.models.load_model("model.h5", compile=False)
describe(".h5", loaded)
loaded.compile("sgd", "mse")
loaded.fit(images, images, verbose=0)
kernels = [variable.numpy() for variable in loaded.variables if variable.name == "kernel"]
print(".h5: kernels equal after a step of training:", np.array_equal(*kernels))
model.save_weights("model.weights.h5")
again = build()
again.load_weights("model.weights.h5")
describe(".weights.h5", again)
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
