"""Writes files in the layouts of Keras 2 from live Keras 3 models, without Keras 2.

What `keras.Model.save` of tf_keras 2.21.0 writes for the same networks was compared by eye. Keras 2
names a connection [layer, call, output, {}], counts a nested model's own graph as its call 0,
writes the axis of a normalization as a positive number in a list and no shapes in `.h5`, ends
names of arrays in ":0", and numbers groups without names in `.keras`.
"""

import json
import pathlib
import tempfile
import zipfile

import h5py
import keras

VERSION = "2.15.0"


def config(model):
    """The model's configuration as Keras 2 writes it; with build_config, as `.keras` has it."""
    if isinstance(model, keras.Sequential):
        first = keras.layers.InputLayer(model.input_shape[1:], name="first")
        entries = [_entry(layer) for layer in (first, *model.layers)]
        return {"class_name": "Sequential", "config": _whole(model, entries)}
    nested = {la.name for la in model.layers if isinstance(la, keras.Model)}
    entries = []
    for saved in model.get_config()["layers"]:
        entry = _entry(model.get_layer(saved["name"]))
        calls = saved["inbound_nodes"]
        entry["inbound_nodes"] = [_node(call, nested) for call in calls]
        entries.append(entry)
    ends = {
        f"{side}_layers": [_tensor(tensor, nested) for tensor in tensors]
        for side, tensors in (("input", model.inputs), ("output", model.outputs))
    }
    whole = _whole(model, entries) | ends
    return {"class_name": "Functional", "config": whole}


def h5(model, path, *, scope=lambda name: name, change=lambda config: None, whole=True):
    """A legacy `.h5` file: of the whole model, or of its weights.

    Args:
        model, path: what to write and where.
        scope: name of the TensorFlow scope of a layer, by its name.
        change: may change the configuration.
        whole: whether the file has the configuration.
    """
    with h5py.File(path, "w") as file:
        root = file
        if whole:
            text = config(model)
            for entry in _all_entries(text["config"]):
                entry.pop("build_config", None)
            change(text)
            file.attrs["model_config"] = json.dumps(text)
            root = file.create_group("model_weights")
        root.attrs["keras_version"], root.attrs["backend"] = VERSION, "tensorflow"
        root.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            group = root.create_group(layer.name)
            arrays = {}
            for owner in _owners(layer):
                prefix = scope(owner.name)
                kind = "depthwise_" if "Depthwise" in type(owner).__name__ else ""
                for w in owner.weights:
                    name = w.name.replace("kernel", f"{kind}kernel")
                    arrays[f"{prefix}/{name}:0"] = w.numpy()
            group.attrs["weight_names"] = [*arrays]
            for name, array in arrays.items():
                group[name] = array
    return path


def keras_1_h5(model, path, *, number="", whole=True, ordering="tf"):
    """A `.h5` file as of Keras 1.2.2 on TensorFlow, of a chain of layers: "conv_W_1:0"."""
    text = config(model)
    for entry in text["config"]["layers"]:
        own = entry["config"] = _KERAS_1_SETTINGS[entry["class_name"]] | {
            "name": entry["name"],
            "batch_input_shape": entry["config"].get("batch_input_shape"),
        }
        if "Conv" in entry["class_name"]:
            own["dim_ordering"] = ordering
        entry["class_name"] = own.pop("class_name", entry["class_name"])
        entry["inbound_nodes"] = [
            [end[:3] for end in c] for c in entry["inbound_nodes"]
        ]
    with h5py.File(path, "w") as file:
        root = file
        if whole:
            file.attrs["model_config"] = json.dumps(text)
            file.attrs["keras_version"] = "1.2.2"
            root = file.create_group("model_weights")
        root.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            group = root.create_group(layer.name)
            arrays = {}
            for w in layer.weights:
                name = _KERAS_1_ARRAYS.get(w.name, w.name)
                arrays[f"{layer.name}_{name}{number}:0"] = w.numpy()
            group.attrs["weight_names"] = [*arrays]
            for name, array in arrays.items():
                group[name] = array
    return path


_KERAS_1_ARRAYS = {
    "kernel": "W",
    "bias": "b",
    "moving_mean": "running_mean",
    "moving_variance": "running_std",
}
_KERAS_1_SETTINGS = {
    "InputLayer": {},
    "Flatten": {},
    "Dense": {"bias": True},
    "Conv2D": {"class_name": "Convolution2D", "subsample": [2, 2], "bias": True},
    "Conv2DTranspose": {"class_name": "Deconvolution2D", "subsample": [2, 2]},
    "SeparableConv2D": {"class_name": "SeparableConvolution2D", "subsample": [1, 1]},
    "BatchNormalization": {"mode": 0, "axis": -1, "epsilon": 1e-3, "momentum": 0.99},
}


def archive(model, path, *, change=lambda config: None):
    """A `.keras` file as of Keras 2.12 to 2.15."""
    text = config(model)
    change(text)
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder, "model.weights.h5")
        model.save_weights(weights)
        with h5py.File(weights, "a") as file:
            file.visititems(lambda _, group: group.attrs.pop("name", None))
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("metadata.json", json.dumps({"keras_version": VERSION}))
            out.writestr("config.json", json.dumps(text))
            out.write(weights, "model.weights.h5")
    return path


def _whole(model, entries):
    return {"name": model.name, "trainable": True, "layers": entries}


def _entry(layer):
    if isinstance(layer, keras.Model):
        entry = config(layer)
    elif isinstance(layer, keras.layers.InputLayer):
        own = {"batch_input_shape": list(layer.batch_shape), "dtype": "float32"}
        entry = {"class_name": "InputLayer", "config": own | {"name": layer.name}}
    else:
        own = {k: v for k, v in layer.get_config().items() if not isinstance(v, dict)}
        shape = (layer.get_build_config() or {}).get("input_shape")
        if "axis" in own and layer.weights:
            axes = own["axis"] if isinstance(own["axis"], list) else [own["axis"]]
            own["axis"] = [axis % len(shape) for axis in axes]
        own["dtype"] = "float32"
        entry = {"class_name": type(layer).__name__, "config": own}
        if shape:
            entry["build_config"] = {"input_shape": shape}
    return {**entry, "name": layer.name, "inbound_nodes": []}


def _node(call, nested):
    tensors = call["args"][0]
    tensors = tensors if isinstance(tensors, (list, tuple)) else [tensors]
    return [[*_history(t["config"]["keras_history"], nested), {}] for t in tensors]


def _tensor(tensor, nested):
    layer, call, output = tensor._keras_history
    return _history([layer.name, call, output], nested)


def _history(history, nested):
    layer, call, output = history
    return [layer, call + (layer in nested), output]


def _owners(layer):
    """Layers with arrays, as the groups of `.h5` list them."""
    if not isinstance(layer, keras.Model):
        return [layer]
    return [owner for inner in layer.layers for owner in _owners(inner)]


def _all_entries(whole):
    for entry in whole["layers"]:
        yield entry
        if "layers" in entry["config"]:
            yield from _all_entries(entry["config"])
