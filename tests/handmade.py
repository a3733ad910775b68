"""Keras files made by hand: without Keras, so that they are quick, and can be made wrong.

A layer is (class name, name, settings, arrays); of a nested model the "arrays" are layers.
"""

import io
import json
import re
import zipfile
from collections import Counter

import h5py
import numpy as np

MODELS = ("Functional", "Sequential")


def bn(name, width=4, *, scale=True, center=True, seed=0, dtype="<f4"):
    """A batch normalization of random arrays; the last, the variance, is positive."""
    draw = np.random.default_rng([seed, len(name)])
    count = 2 + scale + center
    arrays = [draw.normal(size=width).astype(dtype) for _ in range(count - 1)]
    arrays.append(draw.uniform(0.5, 2, width).astype(dtype))
    settings = {"scale": scale, "center": center, "epsilon": 1e-3, "axis": [-1]}
    return ("BatchNormalization", name, settings, arrays)


def conv(name, shape=(3, 3, 3, 4), *, use_bias=True, seed=0, dtype="<f4"):
    """A 2-D convolution with a random kernel of this shape."""
    draw = np.random.default_rng([seed, len(name), 7])
    arrays = [draw.normal(size=shape).astype(dtype)]
    if use_bias:
        arrays.append(draw.normal(size=shape[-1]).astype(dtype))
    settings = {
        "filters": shape[-1],
        "kernel_size": list(shape[:2]),
        "use_bias": use_bias,
        "data_format": "channels_last",
    }
    return ("Conv2D", name, settings, arrays)


def model(seed=0):
    """Three levels: the smallest model that has everything a reader can get wrong."""
    inner = ("Functional", "stem", {}, [conv("c1", seed=seed), bn("b1", seed=seed)])
    backbone = (
        "Functional",
        "backbone",
        {},
        [inner, conv("c2", (1, 1, 4, 5), use_bias=False, seed=seed)],
    )
    return [backbone, bn("b2", 5, scale=False, seed=seed), conv("head", (1, 1, 5, 2))]


def snake(name):
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def arrays(layers, prefix=""):
    """Variable path -> array, as a live model would index them."""
    found = {}
    for kind, name, _, content in layers:
        if kind in MODELS:
            found |= arrays(content, f"{prefix}{name}/")
        else:
            found |= {f"{prefix}{name}/{i}": a for i, a in enumerate(content)}
    return found


def config(layers, name="model"):
    """The model's configuration, each layer reading from the one before it."""
    entries, before = [], []
    for kind, layer, settings, content in layers:
        inner = config(content, layer)["config"] if kind in MODELS else settings
        history = {
            "class_name": "__keras_tensor__",
            "config": {"keras_history": before},
        }
        entries.append(
            {
                "module": "keras.layers",
                "class_name": kind,
                "config": {"name": layer, **inner},
                "name": layer,
                "inbound_nodes": [{"args": [history] if before else []}],
            }
        )
        before = [layer, 0, 0]
    ends = {"input_layers": [[layers[0][1], 0, 0]], "output_layers": [before]}
    return {
        "class_name": "Functional",
        "config": {"name": name, "layers": entries, **ends},
    }


def fill(group, layers):
    """Writes the layers below an HDF5 group as Keras lays them out."""
    used = Counter()
    for kind, name, _, content in layers:
        number = f"_{used[snake(kind)]}" if used[snake(kind)] else ""
        used[snake(kind)] += 1
        own = group.create_group(f"layers/{snake(kind)}{number}")
        variables = own.create_group("vars")
        variables.attrs["name"] = name
        if kind in MODELS:
            fill(own, content)
            continue
        for position, array in enumerate(content):
            if array.dtype.kind == "V":
                data = variables.create_dataset(str(position), data=array.view("V2"))
                data.attrs["dtype"] = "bfloat16"
            else:
                variables.create_dataset(str(position), data=array)


def weights_h5(layers, change=lambda file: None) -> bytes:
    """A weights file; `change` may spoil the open h5py file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("vars").attrs["name"] = "model"
        fill(file, layers)
        optimizer = file.create_group("optimizer/vars")
        optimizer.create_dataset("0", data=np.int64(3))
        change(file)
    return buffer.getvalue()


def write_weights(path, layers=None, change=lambda file: None):
    path.write_bytes(weights_h5(layers or model(), change))
    return path


def write_keras(path, layers=None, *, weights=None, text=None, deflate=()):
    """A `.keras` file; `weights` or `text` (of config.json) replace what belongs there."""
    layers = layers or model()
    members = {
        "metadata.json": b'{"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}',
        "config.json": text or json.dumps(config(layers)).encode(),
        "model.weights.h5": weights or weights_h5(layers),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            method = zipfile.ZIP_DEFLATED if name in deflate else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def safetensors(entries: dict[str, np.ndarray], change=lambda header: None) -> bytes:
    """A safetensors file of float32 arrays; `change` may spoil the header."""
    header, data = {}, b""
    for name, array in entries.items():
        raw = array.astype("<f4").tobytes()
        span = [len(data), len(data) + len(raw)]
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": span,
        }
        data += raw
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
