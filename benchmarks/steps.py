"""Trains and infers with one contestant in a fresh process; prints its speed as JSON.

    python -m benchmarks.steps make FOLDER CASE
    python -m benchmarks.steps run FOLDER CASE CONTESTANT DEVICE SECONDS CORES

A time counts only if logits and losses equal those that `networks.make` wrote.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks import fresh, networks
from benchmarks.networks import CHECKED, SHOWN, Case
from tfreuse.errors import InputError

WARM = (
    5  # steps before the clock starts, in which memory is allocated and kernels chosen
)


class Clock:
    """Times steps: `WARM` uncounted steps, then as many as take `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self.steps = seconds, -WARM

    def tick(self) -> bool:
        """Counts a step; returns True after the last."""
        self.steps += 1
        if self.steps == 0:
            self._begin, self._busy = time.perf_counter(), time.process_time()
            self._other_load = fresh.OtherLoad()
        return self.steps > 0 and time.perf_counter() - self._begin >= self._seconds

    def stop(self, batch: int) -> dict[str, float]:
        """Returns speeds of the counted steps; call it when the device has finished them."""
        images, seconds = batch * self.steps, time.perf_counter() - self._begin
        return {
            "steps": self.steps,
            "images_s": images / seconds,
            "cpu_ms": 1e3 * (time.process_time() - self._busy) / images,
            "others": self._other_load.share(),
        }


def keras_as_it_comes(case: Case, folder: pathlib.Path, gpu: bool, seconds: float):
    """Runs `fit` and `predict_on_batch` of the plain model, as in Keras's documentation."""
    import keras
    import tensorflow as tf

    if gpu:
        keras.config.set_dtype_policy("mixed_bfloat16")
    from tfreuse import training

    arrays = networks.read(case, folder)[1]
    model = networks.build(case)
    model.compile(training.optimizer(model, case.train), training.loss("segmentation"))
    steps = tf.data.Dataset.from_tensor_slices((arrays["images"], arrays["masks"]))
    steps = steps.repeat().prefetch(2)
    measured = {"device": _card(tf), "parameters": model.count_params()}
    measured["shown"] = model.predict_on_batch(arrays["images"][0][:SHOWN])
    measured |= _fit(model, steps, steps, case, seconds)
    return measured | _infer(
        model.predict_on_batch, _inference_images(arrays, case), seconds
    )


def tfreuse(case: Case, folder: pathlib.Path, gpu: bool, seconds: float):
    """Trains as tools/train.py without validation and checkpoints; infers as a study does."""
    from tfreuse import runtime

    runtime.start()
    import tensorflow as tf

    from tfreuse import training
    from tfreuse.training import folding

    with training.precision(gpu):
        model = networks.build(case)
    arrays, split = networks.read(case, folder)[1], networks.split(case)
    options = {"jit_compile": True} if gpu else {}
    optimizer = training.optimizer(model, case.train)
    graph = training.trainable(model, optimizer, "segmentation", -1, **options)
    view = folding.folded(model)
    infer = tf.function(lambda images: view(images, training=False), jit_compile=gpu)
    measured = {"device": _card(tf), "parameters": model.count_params()}
    measured["shown"] = infer(arrays["images"][0][:SHOWN]).numpy()
    checked, timed = (
        training.batches(graph, split, case.train, start) for start in (0, CHECKED)
    )
    measured |= _fit(graph, checked, timed, case, seconds)
    images = tf.constant(_inference_images(arrays, case))
    return measured | _infer(lambda images: infer(images).numpy(), images, seconds)


def pytorch(case: Case, folder: pathlib.Path, gpu: bool, seconds: float):
    """Runs the same network in PyTorch, channels last; on a GPU compiled and in bfloat16."""
    import torch

    from benchmarks import torch_networks

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    arrays = networks.read(case, folder)[1]
    network = torch_networks.build(case.model, 3, networks.CLASSES)
    with torch.no_grad():
        values = {n[7:]: v for n, v in arrays.items() if n.startswith("values/")}
        torch_networks.take_values(network, values)
    network = network.to(device, memory_format=torch.channels_last)
    state = network.state_dict().items()
    measured = {"parameters": sum(v.numel() for _, v in state if v.ndim)}
    measured["device"] = torch.cuda.get_device_name() if cuda else ""

    def place(images):
        images = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
        return images.contiguous(memory_format=torch.channels_last)

    run = torch.compile(network) if gpu else network
    half = torch.autocast(device.type, torch.bfloat16, enabled=gpu)

    @torch.inference_mode()
    def infer(images):
        with half:
            return run(images).permute(0, 2, 3, 1).float().cpu().numpy()

    network.eval()
    measured["shown"] = infer(place(arrays["images"][0][:SHOWN]))
    network.train()
    batches = [
        (place(images), torch.from_numpy(masks).long().to(device))
        for images, masks in zip(arrays["images"], arrays["masks"], strict=True)
    ]
    step = _torch_step(torch, network, run, half, case)
    measured |= _torch_fit(step, batches, case, seconds)
    network.eval()
    return measured | _infer(infer, place(_inference_images(arrays, case)), seconds)


CONTESTANTS: dict[str, Callable[[Case, pathlib.Path, bool, float], dict]] = {
    "Keras": keras_as_it_comes,
    "tfreuse": tfreuse,
    "PyTorch": pytorch,
}


def wrong(measured: dict, reference: dict, shown: np.ndarray, rough: bool) -> str:
    """Compares a contestant with plain Keras; returns the difference, "" if there is none.

    Args:
        measured: the contestant's parameters, logits and losses.
        reference: those of plain Keras, as `networks.make` wrote them.
        shown: the logits of plain Keras.
        rough: the contestant computed in bfloat16.
    """
    if measured["parameters"] != reference["parameters"]:
        return f"{measured['parameters']} parameters, not {reference['parameters']}"
    tolerance = 0.1 if rough else 1e-3
    if not np.allclose(measured["shown"], shown, atol=tolerance * np.abs(shown).max()):
        return "other logits"
    losses, expected = np.array(measured["losses"]), reference["losses"]
    if not np.allclose(losses[:CHECKED], expected, rtol=0.05 if rough else 0.01):
        return f"losses {losses[:CHECKED]}, not {expected}"
    return "" if losses[-1] < losses[0] else "the loss does not fall"


def _fit(graph, checked, timed, case: Case, seconds: float) -> dict:
    """Returns losses of the first steps and speed of later steps, both by Keras's `fit`."""
    import keras

    clock = Clock(seconds)

    class Ticker(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if clock.tick():
                self.model.stop_training = True

    options = {"verbose": 0, "shuffle": False}
    first = graph.fit(checked, steps_per_epoch=1, epochs=CHECKED, **options)
    graph.fit(timed, steps_per_epoch=10**6, callbacks=[Ticker()], **options)
    speed = clock.stop(case.batch)
    last = graph.fit(timed, steps_per_epoch=1, **options)
    losses = first.history["loss"] + last.history["loss"]
    return {"losses": losses, "training": speed}


def _torch_fit(step: Callable, batches: list, case: Case, seconds: float) -> dict:
    """Returns the same as `_fit`, by a loop."""
    losses = [float(step(n, *batch)) for n, batch in enumerate(batches)]
    clock, number = Clock(seconds), len(batches)
    while True:
        loss = step(number, *batches[number % CHECKED])
        number += 1
        if clock.tick():
            break
    losses.append(float(loss))  # waits for the device
    return {"losses": losses, "training": clock.stop(case.batch)}


def _infer(function: Callable, images, seconds: float) -> dict:
    clock = Clock(seconds / 2)
    while True:
        function(images)
        if clock.tick():
            return {"inference": clock.stop(len(images))}


def _torch_step(torch, network, run, half, case: Case) -> Callable:
    """Returns a function for one update as in `tfreuse.training`: AdamW, only kernels decay."""
    from benchmarks import torch_networks

    spec = case.train
    kernels, vectors = torch_networks.kernels_and_others(network)
    optimizer = torch.optim.AdamW(
        [
            {"params": kernels, "weight_decay": spec.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=spec.learning_rate,
        eps=1e-7,  # Keras's
        fused=True,
    )

    def step(number: int, images, masks):
        for group in optimizer.param_groups:
            group["lr"] = networks.rate(spec, number)
        optimizer.zero_grad(set_to_none=True)
        with half:
            loss = torch.nn.functional.cross_entropy(run(images), masks)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _inference_images(arrays: dict, case: Case) -> np.ndarray:
    """Repeats the images of the batches to one batch of inference."""
    images = np.concatenate(list(arrays["images"]))
    return np.resize(images, (case.many, *images.shape[1:]))


def _card(tf) -> str:
    """Returns the name of the GPU; "" without a GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return ""
    details = tf.config.experimental.get_device_details(gpus[0])
    return details.get("device_name", "GPU")


def main(verb: str, folder: str, name: str, *options: str) -> None:
    case, path = networks.find(name), pathlib.Path(folder)
    if verb == "make":
        networks.make(case, path)
        return
    contestant, device, seconds, cores = options
    if int(cores):
        # Before TensorFlow or PyTorch count the processors.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(cores) :])
    if case not in networks.TINY and cores != "1":
        fresh.wait_for_quiet()
    measured = CONTESTANTS[contestant](case, path, device == "gpu", float(seconds))
    if device == "gpu" and case in networks.GPU and not measured["device"]:
        raise InputError(f"{contestant} finds no GPU")
    reference, arrays = networks.read(case, path)
    error = wrong(measured, reference, arrays["shown"], rough=device == "gpu")
    del measured["shown"]
    print(json.dumps({"error": f"wrong result: {error}"} if error else measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
