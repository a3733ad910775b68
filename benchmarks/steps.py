"""One contestant trains and infers in a process of its own; prints what it found as JSON.

python -m benchmarks.steps make FOLDER CASE
python -m benchmarks.steps run FOLDER CASE CONTESTANT DEVICE SECONDS CORES

What is found is compared with what `networks.make` wrote before a time counts.
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

WARM = 5  # steps before the clock starts: memory is taken, kernels are chosen


class Clock:
    """Times steps: `WARM` uncounted ones, then as many as take `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self.steps = seconds, -WARM

    def tick(self) -> bool:
        """Told after each step; True when it was the last."""
        self.steps += 1
        if self.steps == 0:
            self._begin, self._busy = time.perf_counter(), time.process_time()
            self._others = fresh.Others()
        return self.steps > 0 and time.perf_counter() - self._begin >= self._seconds

    def stop(self, batch: int) -> dict[str, float]:
        """What the counted steps took; told when the device has done them."""
        images, seconds = batch * self.steps, time.perf_counter() - self._begin
        return {
            "steps": self.steps,
            "images_s": images / seconds,
            "cpu_ms": 1e3 * (time.process_time() - self._busy) / images,
            "others": self._others.share(),
        }


def keras_as_it_comes(case: Case, folder: pathlib.Path, gpu: bool, seconds: float):
    """`fit` and `predict_on_batch` of the plain model, as its documentation has them."""
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
    found = {"device": _card(tf), "parameters": model.count_params()}
    found["shown"] = model.predict_on_batch(arrays["images"][0][:SHOWN])
    found |= _fit(model, steps, steps, case, seconds)
    return found | _infer(model.predict_on_batch, _many(arrays, case), seconds)


def tfreuse(case: Case, folder: pathlib.Path, gpu: bool, seconds: float):
    """What tools/train.py does, without validation and checkpoints; inference as studies do it."""
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
    found = {"device": _card(tf), "parameters": model.count_params()}
    found["shown"] = infer(arrays["images"][0][:SHOWN]).numpy()
    first, rest = (
        training.batches(graph, split, case.train, start) for start in (0, CHECKED)
    )
    found |= _fit(graph, first, rest, case, seconds)
    many = tf.constant(_many(arrays, case))
    return found | _infer(lambda images: infer(images).numpy(), many, seconds)


def pytorch(case: Case, folder: pathlib.Path, gpu: bool, seconds: float):
    """The same network in PyTorch, channels last; on a GPU compiled and in bfloat16."""
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
    found = {"parameters": sum(v.numel() for _, v in state if v.ndim)}
    found["device"] = torch.cuda.get_device_name() if cuda else ""

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
    found["shown"] = infer(place(arrays["images"][0][:SHOWN]))
    network.train()
    batches = [
        (place(images), torch.from_numpy(masks).long().to(device))
        for images, masks in zip(arrays["images"], arrays["masks"], strict=True)
    ]
    step = _torch_step(torch, network, run, half, case)
    found |= _torch_fit(step, batches, case, seconds)
    network.eval()
    return found | _infer(infer, place(_many(arrays, case)), seconds)


CONTESTANTS: dict[str, Callable[[Case, pathlib.Path, bool, float], dict]] = {
    "Keras": keras_as_it_comes,
    "tfreuse": tfreuse,
    "PyTorch": pytorch,
}


def wrong(found: dict, about: dict, shown: np.ndarray, rough: bool) -> str:
    """What is not as plain Keras has it; "" if all is.

    Args:
        found: what a contestant found.
        about: what `networks.make` wrote.
        shown: the logits of plain Keras.
        rough: it computed in bfloat16.
    """
    if found["parameters"] != about["parameters"]:
        return f"{found['parameters']} parameters, not {about['parameters']}"
    near = 0.1 if rough else 1e-3
    if not np.allclose(found["shown"], shown, atol=near * np.abs(shown).max()):
        return "other logits"
    losses = np.array(found["losses"])
    if not np.allclose(losses[:CHECKED], about["losses"], rtol=0.05 if rough else 0.01):
        return f"losses {losses[:CHECKED]}, not {about['losses']}"
    return "" if losses[-1] < losses[0] else "the loss does not fall"


def _fit(graph, first, rest, case: Case, seconds: float) -> dict:
    """Losses of the first steps, then the time of many, both by Keras's `fit`."""
    import keras

    clock = Clock(seconds)

    class Ticker(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if clock.tick():
                self.model.stop_training = True

    options = {"verbose": 0, "shuffle": False}
    begun = graph.fit(first, steps_per_epoch=1, epochs=CHECKED, **options)
    graph.fit(rest, steps_per_epoch=10**6, callbacks=[Ticker()], **options)
    timed = clock.stop(case.batch)
    last = graph.fit(rest, steps_per_epoch=1, **options)
    return {
        "losses": begun.history["loss"] + last.history["loss"],
        "training": timed,
    }


def _torch_fit(step: Callable, batches: list, case: Case, seconds: float) -> dict:
    """What `_fit` finds, by a loop."""
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
    """One update as `tfreuse.training` makes it: AdamW, only kernels decay."""
    from benchmarks import torch_networks

    spec = case.train
    kernels, others = torch_networks.kernels_and_others(network)
    optimizer = torch.optim.AdamW(
        [
            {"params": kernels, "weight_decay": spec.weight_decay},
            {"params": others, "weight_decay": 0.0},
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


def _many(arrays: dict, case: Case) -> np.ndarray:
    """So many images as the inference takes at once: the batches' own, repeated."""
    images = np.concatenate(list(arrays["images"]))
    return np.resize(images, (case.many, *images.shape[1:]))


def _card(tf) -> str:
    """The name of the GPU; "" without."""
    gpus = tf.config.list_physical_devices("GPU")
    return (
        tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        if gpus
        else ""
    )


def main(verb: str, folder: str, name: str, *rest: str) -> None:
    case, path = networks.find(name), pathlib.Path(folder)
    if verb == "make":
        networks.make(case, path)
        return
    contestant, device, seconds, cores = rest
    if int(cores):
        # before TensorFlow or PyTorch count them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(cores) :])
    if case not in networks.TINY and cores != "1":
        fresh.wait_for_quiet()
    found = CONTESTANTS[contestant](case, path, device == "gpu", float(seconds))
    if device == "gpu" and case in networks.GPU and not found["device"]:
        raise InputError(f"{contestant} finds no GPU")
    about, arrays = networks.read(case, path)
    error = wrong(found, about, arrays["shown"], rough=device == "gpu")
    del found["shown"]
    print(json.dumps({"error": f"wrong result: {error}"} if error else found))


if __name__ == "__main__":
    main(*sys.argv[1:])
