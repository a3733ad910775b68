"""Small units of work for tests, in a module that every worker can import."""

import os
import signal
import time

import planted

from tfreuse import files
from tfreuse.runners import Unit

IMPORTED_BY = os.getpid()


def unit_of(name, function=None, *arguments, **more):
    return Unit(name, function or nothing, arguments, {"unit": name}, **more)


def nothing(output, threads):
    pass


def note(output, threads, path, word):
    with open(path, "a") as file:
        file.write(word)


def tell_worker(output, threads):
    """Tells the process, and what the units before it have put on its cache."""
    seen = output.cache.get("seen", (), list)
    seen.append(os.getpid())
    output.annotate("seen", list(seen))


def fail(output, threads, error):
    raise error


def fail_first(output, threads, path):
    if not path.exists():
        path.touch()
        raise OSError("no space is left")


def die_first(output, threads, path):
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def arms(output, threads, count, die_at=None, flag=None):
    """Records `count` arms, each once; ends itself at one of them the first time."""
    for seed in range(count):
        record = planted.record(0.5, seed=seed)
        if record.key in output.keys:
            continue
        if seed == die_at and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        output.record(record)
    output.annotate("words", ["told"])


def slow_arms(output, threads, count, seconds):
    """Records `count` arms, one every so many seconds."""
    for seed in range(count):
        record = planted.record(0.5, seed=seed)
        if record.key not in output.keys:
            time.sleep(seconds)
            output.record(record)
            output.progress(seed / count, f"arm {seed}")


def wait_for(output, threads, path):
    """Ends when there is such a file, or after a minute."""
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)


def full(output, threads, node):
    """What a node with a full disk does; others do well."""
    if ray_node() == node:
        with open("/dev/full", "w") as file:
            file.write("x")
    output.annotate("node", ray_node())


def tell_place(output, threads, seconds):
    """Tells node, process and GPUs, and when it ran."""
    start = time.time()
    time.sleep(seconds)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    output.annotate(
        "place", [ray_node(), os.getpid(), gpus, start, time.time(), threads]
    )


def tell_server(output, threads):
    """Tells which process imported this module, its parent, and NumPy's threads."""
    blas = os.environ["OMP_NUM_THREADS"]
    output.annotate("server", [IMPORTED_BY, os.getpid(), os.getppid(), blas])


def fake_train(output, threads, specs, network, out_dir):
    """A training that leaves what a study looks for."""
    files.write_json(out_dir / "metrics.json", {"metric": "mean_iou", "value": 0.8})


def slow_measure(output, threads, block, models_dir):
    """A block of five arms, true to the paper's claims, one every 0.4 s."""
    for group, retentions in planted.TRUE.items():
        record = planted.record(
            retentions[block.seed], seed=block.seed, direction=block.direction,
            group=group, study=block.specs.digest,
        )  # fmt: skip
        if record.key not in output.keys:
            time.sleep(0.4)
            output.record(record)
        output.progress(0.5, f"arm {group}")


def fake_measure(output, threads, block, models_dir):
    """A block of three arms; it wants its networks, and fails while FAIL names it."""
    for network in block.parts.values():
        assert (models_dir / network.name / "metrics.json").exists()
    for group in ("kernel", "affine", "all"):
        record = planted.record(
            0.5, seed=block.seed, direction=block.direction, group=group,
            study=block.specs.digest,
        )  # fmt: skip
        if record.key not in output.keys:
            output.record(record)
        if (models_dir.parent / "FAIL").exists() and group == "affine":
            name = (models_dir.parent / "FAIL").read_text()
            if name == block.name:
                raise ZeroDivisionError(name)
    with open(models_dir.parent / "measured", "a") as file:
        file.write(f"{block.name}\n")


def fake_finish(output, threads, block, groups, out_dir):
    files.write_json(out_dir / "finished.json", list(groups))
    notes = {"notes": {"groups": list(groups)}}
    files.write_json(out_dir / "savedmodel/1/assets.extra/tfreuse.json", notes)


def tell_blas(output, threads):
    """Tells how many threads NumPy's linear algebra was given, and the unit itself."""
    output.annotate("blas", [os.environ["OMP_NUM_THREADS"], threads])


def ray_node():
    import ray

    return ray.get_runtime_context().get_node_id()
