"""Opens networks that exist for a study: recipients as they are, donors inside their recipients.

    check(specs)                         # raises InputError before any work begins
    read(specs, network, out_dir)        # out_dir/model.keras, as a training would leave it
    model = staged(saving.load(path), specs)

A donor may be any file that `tfreuse.transplant` reads. Its parameters are put into a copy of the
recipient, where a plan pairs them; all that a study does with trained networks then works.
"""

import pathlib
from collections.abc import Sequence

import keras

from tfreuse import export, files, models, roles, runtime, training, transplant
from tfreuse.errors import InputError, printable
from tfreuse.models import custom, graph, names, saving
from tfreuse.plan import Plan, remedies, select
from tfreuse.study.blocks import Network
from tfreuse.study.design import Specs
from tfreuse.transplant import derived, live

_NAMED = 3  # variables that a message names


def check(specs: Specs) -> None:
    """Checks that every recipient fits the images and every donor its recipient.

    Raises:
        InputError: one does not; the message names it and its remedy.
    """
    blocks = specs.blocks()
    sizes: dict[str, list] = {}
    for number, block in enumerate(blocks):
        recipient, donor = block.parts["recipient"], block.parts["transfer"]
        if recipient.file not in sizes:
            model = opened(recipient.file, specs)
            _check_output(model, recipient, specs)
            variables = transplant.index(model)
            sizes[recipient.file] = [(v.path, v.role, v.shape) for v in variables]
            if number == 0 and specs.data.dataset != "arrays":
                export.examined(model, recipient.train.task)
        _with_donor(donor, specs)
    first, *further = sizes
    for file in further:
        if sizes[file] != sizes[first]:
            raise InputError(
                f"--pairs: {printable(file)} has other layers or shapes than "
                f"{printable(first)}; recipients that count as seeds are of one structure."
            )


def read(specs: Specs, network: Network, out_dir: pathlib.Path) -> None:
    """Writes `model.keras` and `metrics.json` of a recipient, or of a donor in its recipient.

    Raises:
        InputError: see `check`.
    """
    if (out_dir / "metrics.json").exists():
        return
    if network.into:
        model, plan = _with_donor(network, specs)
        metrics = {"file": network.file, "moved": len(plan.copies)}
        metrics["notes"] = list(plan.notes)
    else:
        model = opened(network.file, specs)
        test = training.split(specs.data, "test", network.train)
        task, corruption = network.train.task, network.train.corruption
        metrics = training.evaluate(model, test, task, corruption)
        metrics["file"] = network.file
    saving.save(model, out_dir / "model.keras")
    metrics["parameters"] = model.count_params()
    files.write_json(out_dir / "metrics.json", metrics)


def opened(file: str, specs: Specs) -> keras.Model:
    """Opens a recipient as a graph of layers, with its stages."""
    return _opened(file, specs)[0]


def channels(file: str) -> int:
    """Returns the number of values a pixel of a recipient's output."""
    model = custom.graph_of_layers(saving.load(file), f"recipient {printable(file)}")
    return model.outputs[0].shape[-1]


def staged(model: keras.Model, specs: Specs) -> keras.Model:
    """Assigns stages: --stages, and "head" to the last layer and to those that --layers leaves out.

    Raises:
        InputError: a pattern matches no layer, or no layer is left.
    """
    model = models.with_stages(model, specs.model.stages)
    weighted = [layer.name for layer in model.layers if layer.weights]
    chosen = select(weighted, specs.given.layers)
    heads = [name for name in weighted if name not in chosen]
    last = graph.last_layer(model)
    if isinstance(last, custom.HEADS):
        heads.append(last.name)
    if set(heads) >= set(weighted):
        raise InputError(
            f"--layers={','.join(specs.given.layers)} leaves no layer of "
            f"{printable(specs.model.model)} beside its head."
        )
    return graph.with_heads(model, names.stages_of_layers(model), heads)


def reinitialised(model: keras.Model, seed: int) -> keras.Model:
    """Returns a copy of the model with fresh initial values; adapted statistics are kept."""
    runtime.seed(seed, tensorflow=False)
    copy = keras.models.clone_model(model, clone_function=_fresh)
    derived.copy_statistics(model, copy)
    return copy


def _fresh(layer: keras.Layer) -> keras.Layer:
    """Copies a layer; its initializers draw anew, also those that have a seed of their own."""

    def unseeded(value):
        if isinstance(value, dict):
            return {k: None if k == "seed" else unseeded(v) for k, v in value.items()}
        return value

    config = layer.get_config()
    initializers = {k: unseeded(v) for k, v in config.items() if "initializer" in k}
    return layer.__class__.from_config(config | initializers)


def _opened(
    file: str, specs: Specs, donor: str = ""
) -> tuple[keras.Model, Plan | None]:
    """Opens a recipient as a graph of layers, with stages; with a donor's values if given."""
    where = f"--recipient={printable(file)}"
    if not file.rstrip("/").endswith(".keras"):
        raise InputError(f"{where}: expected a model file, NAME.keras.")
    model = saving.load(file)
    # before nested networks are put in place: their layers may be renamed
    paths = {id(layer): path for path, layer in live.every_layer(model)}
    task = specs.train.task
    flat = custom.graph_of_layers(model, where, logits=task == "segmentation")
    try:
        models.images.check(flat, specs.data.image_size, specs.data.channels)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    flat = staged(flat, specs)
    plan = None
    if donor:
        layers = {
            paths[id(flat.get_layer(name))]: name
            for stage, inside in models.stages(flat).items()
            if stage not in ("head", "auxiliary")
            for name in inside
        }
        plan = _moved(donor, model, layers, specs)
    if specs.data.dataset != "arrays" and custom.takes_pixels(flat):
        flat = graph.flattened(custom.from_unit_range(flat))
        flat = staged(flat, specs)
    return flat, plan


def _with_donor(network: Network, specs: Specs) -> tuple[keras.Model, Plan]:
    """Returns the recipient with the donor's values in all layers that are measured."""
    return _opened(network.into, specs, network.file)


def _moved(
    donor: str, model: keras.Model, layers: dict[str, str], specs: Specs
) -> Plan:
    """Puts the donor's values into the model; returns the plan.

    Args:
        donor: the file.
        model: the recipient as it was loaded, changed in place.
        layers: names in messages of the layers to fill, by their paths in the model.
        specs: the study, whose groups are needed; other roles move if they all can.

    Raises:
        InputError: a parameter that the study would move has no counterpart in the donor.
    """
    needed = {role for group in specs.study.groups for role in roles.expand(group)}
    if specs.study.shapley:
        needed = set(roles.ROLES)
    options = {"layers": [*layers], "allow_unused": "*"}
    with transplant.opened(donor, model) as pair:
        plan = pair.filled(pair.plan(roles="all", **options))
        if plan.problems and needed < set(roles.ROLES):
            some = [role for role in roles.ROLES if role in needed]
            plan = pair.filled(pair.plan(roles=some, **options))
        if plan.problems:
            raise InputError(_unpaired(donor, plan, layers, specs.given.layers))
        pair.apply(plan)
    return plan


def _unpaired(
    donor: str, plan: Plan, layers: dict[str, str], patterns: Sequence[str]
) -> str:
    """Returns a sentence on the parameters that the donor has no counterpart of."""
    problems, moved = plan.problems, {e.recipient.layer_path for e in plan.copies}
    where = printable(donor)
    causes = [
        f"{entry.variable} {entry.status} ({printable(entry.reason)})"
        for entry in problems[:_NAMED]
    ]
    total = len(problems) + len(plan.copies)
    text = (
        f"{where} does not fit the recipient in {len(problems)} of {total} parameters: "
        f"{'; '.join(causes)}"
    )
    bad = {e.variable.layer_path for e in problems} & set(layers)
    if not moved - bad:
        return f"{text}. Nothing of it pairs with the recipient: give another donor."
    flag = remedies.without(
        [layers[path] for path in layers if path in bad],
        {layers[path] for path in layers if path not in bad},
        patterns,
    )
    return f"{text}. Measure the others with {flag}."


def _check_output(model: keras.Model, network: Network, specs: Specs) -> None:
    """Raises InputError unless the recipient's output fits the task and the test images."""
    where = f"--recipient={printable(network.file)}"
    spec, task = specs.data, network.train.task
    outputs = model.outputs[0].shape[-1]
    expected, unit = spec.channels, "channels of the images"
    if task == "segmentation":
        expected = training.split(spec, "test", network.train).num_classes
        unit = "classes of the data set"
    if outputs != expected:
        raise InputError(
            f"{where} gives {outputs} values a pixel, and the {unit} are {expected}; give "
            "another --recipient, or the --task, --num_classes and --ignore_label that it has."
        )
