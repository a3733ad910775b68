#!/usr/bin/env bash
# safetensors 0.8.0 (numpy 2.4.0, Python 3.11): `safetensors.numpy.save` and `save_file` write the
# memory of an array that is not C-contiguous in memory order under the shape of the view. No
# error, no warning; reading back gives the right shape and other values. 0.7.0 wrote such arrays
# correctly. A converter meets it with every kernel: OIHW to HWIO is `kernel.transpose(2, 3, 1, 0)`,
# a view. `numpy.ascontiguousarray` before saving avoids it.
#
# Seen:
#   0.8.0 transposed kernel (3, 3, 2, 4): read back (3, 3, 2, 4), equal: False
#   0.8.0 contiguous copy   (3, 3, 2, 4): read back (3, 3, 2, 4), equal: True
#   0.7.0 transposed kernel (3, 3, 2, 4): read back (3, 3, 2, 4), equal: True
#   0.7.0 contiguous copy   (3, 3, 2, 4): read back (3, 3, 2, 4), equal: True
#
# Exits with status 0 while this holds, with 1 once it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"

round_trip() {
  "$folder/venv/bin/pip" install -q numpy==2.4.0 "safetensors==$1" >/dev/null 2>&1
  "$folder/venv/bin/python" - "$folder/kernel.safetensors" <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

kernel = np.arange(72, dtype=np.float32).reshape(4, 2, 3, 3).transpose(2, 3, 1, 0)
for name, array in (
    ("transposed kernel", kernel),
    ("contiguous copy", np.ascontiguousarray(kernel)),
):
    save_file({"kernel": array}, sys.argv[1])
    back = load_file(sys.argv[1])["kernel"]
    print(
        f"{safetensors.__version__} {name:17} {array.shape}: read back {back.shape}, "
        f"equal: {np.array_equal(back, array)}"
    )
PYTHON
}

seen="$(round_trip 0.8.0; round_trip 0.7.0)"
echo "$seen"
expected="$(sed -n 's/^#   \(0\.[78]\.0 \)/\1/p' "$0")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
