"""The flags of tools/transplant.py, and the verbs that each of them is for."""

from absl import flags

from tfreuse import roles
from tfreuse.cli import app, checking
from tfreuse.errors import InputError
from tfreuse.plan import adapters

SELECTING = (
    *("roles", "layers", "stages", "depth", "map", "adapters", "alpha"),
    *("allow_missing", "allow_unused", "channels"),
)
_PAIR = ("plan", "apply", "verify", "diff")
_PLANNING = ("plan", "apply", "verify")
_VERBS = {  # by flag; any other flag is for all verbs
    "donor": _PAIR,
    "recipient": (*_PAIR, "undo"),
    "out": (*_PLANNING, "undo"),
    "model": ("info", "check"),
    **dict.fromkeys(SELECTING, _PAIR),
    "layers": (*_PAIR, "check"),
    **dict.fromkeys(("alpha", "channels"), _PLANNING),
    "plan": _PLANNING,
    "download": (*_PAIR, "info"),
    "dry_run": ("plan", "apply", "undo"),
    "overwrite": ("plan", "apply"),
    "crc": ("apply",),
    "undo": ("apply",),
    **dict.fromkeys(checking.FLAG_NAMES, ("check",)),
}
_TEXTS = {
    "donor": "model file whose parameters are taken, a folder of one, hf://ORG/NAME or pretrained:NAME",
    "recipient": "model file that receives them; never changed (undo: where it is now)",
    "out": "model file to write (plan: the plan file)",
    "model": "info, check: model file",
    "depth": "LOW..HIGH, share of the layers from 0 (input) to 1; none: all",
    "map": "file of lines 'donor layer = recipient layer'; * allowed",
    "channels": "JSON file of the output channels that move, as {layer of the recipient: [0, 3]}: "
    "slices of its kernel with its bias, and of the batch normalization behind it; all else stays "
    "the recipient's, also the slices by which the next layers read these channels",
    "plan": "plan file: plan writes it, apply and verify follow it",
}
_LISTS = {
    "stages": "patterns on stages, such as encoder_1; none: all",
    "allow_missing": "recipient layers that may be without a donor",
    "allow_unused": "donor layers that may be without a recipient",
    "adapters": f"LAYERS=ADAPTER: {', '.join(adapters.NAMES)}",
}
_SWITCHES = {
    "download": "hf://ORG/NAME: get it from the Hub first if it is not on this disk",
    "json": "print JSON",
    "dry_run": "check everything, write nothing",
    "overwrite": "replace an existing file, whose content undo does not bring back",
}


def define_flags(caller: str) -> None:
    """Defines all flags; `caller`: module of the command."""
    options = {"module_name": caller}
    for name, help in _TEXTS.items():
        flags.DEFINE_string(name, "", help, **options)
    names = ", ".join((*roles.ROLES, *roles.GROUPS))
    flags.DEFINE_list("roles", ["all"], f"roles and groups to move: {names}", **options)
    flags.DEFINE_list(
        "layers",
        ["*"],
        "patterns on layer names and nested paths; ! excludes, the last that matches decides",
        **options,
    )
    for name, help in _LISTS.items():
        flags.DEFINE_list(name, [], help, **options)
    blend = "blend all that moves: (1 - alpha) recipient + alpha donor"
    app.define_number("alpha", None, blend, low=0, high=1, module=caller)
    for name, help in _SWITCHES.items():
        flags.DEFINE_boolean(name, False, help, **options)
    checked = "apply: check both files against their own checksums"
    flags.DEFINE_boolean("crc", True, checked, **options)
    app.define_undo(caller)
    checking.define_flags(caller)


def refuse_others(verb: str) -> None:
    """Raises InputError where a flag is set that the verb would ignore."""
    for name, verbs in sorted(_VERBS.items()):
        flag = app.FLAGS[name]
        # a file of flags may repeat defaults
        if verb not in verbs and flag.value != flag.default:
            written = f"no{name}" if flag.value is False else name
            meant = verb in _VERBS["model"] and not app.FLAGS.model
            is_file = name in ("donor", "recipient", "out")
            remedy = "give the file as --model" if meant and is_file else "leave it out"
            raise InputError(
                f"{verb} takes no --{written}, which is for {', '.join(verbs)}; {remedy}."
            )
