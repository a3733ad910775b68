#!/usr/bin/env bash
# Keras 3.15.1 (TensorFlow 2.21.0): when a model is saved or loaded, the attributes of each object are compared with those
# of a plain object of its kind. The list of these is made once and kept, but under another name
# (`saving_attr_skipset_...`) than it is looked for (`saving_attr_skiplist_...`). So every layer,
# metric and optimizer that is written or read makes a new plain object, whose attributes are listed. The
# number of plain layers made shows in the names that Keras counts up.
#
# Seen:
#   plain layers made by saving 20 layers: 21
#   plain layers made by loading them: 21
#   kept under the name that is looked for: False
#   made by saving, once the list is there: 0
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
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib


def made():
    """Returns how many plain layers were named since the last call."""
    name = keras.layers.Layer().name
    number = int(name.removeprefix("layer").removeprefix("_") or 0)
    count, made.before = number - made.before - 1, number
    return count


made.before = -1
layers = [keras.layers.Dense(4, name=f"dense_{index}") for index in range(20)]
model = keras.Sequential([keras.Input((4,)), *layers])
made()
model.save("model.keras")
print("plain layers made by saving 20 layers:", made())
keras.models.load_model("model.keras")
print("plain layers made by loading them:", made())
looked_for = global_state.get_global_attribute("saving_attr_skiplist_Layer")
print("kept under the name that is looked for:", looked_for is not None)
for kind in ("Layer", "Functional", "Sequential"):
    names = saving_lib.get_attr_skipset(kind)
    global_state.set_global_attribute(f"saving_attr_skiplist_{kind}", names)
made()
model.save("model.keras")
print("made by saving, once the list is there:", made())
PYTHON
)"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
