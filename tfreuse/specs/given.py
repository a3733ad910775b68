"""Settings of a study of networks that exist: their files, and the part that is measured."""

import dataclasses

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option
from tfreuse.specs.train import TASKS


@dataclasses.dataclass(frozen=True)
class GivenSpec(Spec):
    """Networks that exist, which a study measures without training any."""

    recipient: str = option(
        "",
        "measure this network, FILE.keras, as it is, with the parameters of --donors; nothing is "
        "trained",
    )
    donors: tuple[str, ...] = option(
        (),
        "files whose parameters the --recipient receives, in any format that tools/transplant.py "
        "takes as a donor: A.keras,B.pth",
    )
    pairs: str = option(
        "",
        "file of pairs of networks that count as seeds, instead of --recipient and --donors: a "
        "line RECIPIENT DONOR each, or a JSON list of such pairs",
    )
    task: str = option(
        "auto",
        "task of the --recipient; auto: by run.json beside it or by its layer names",
        choices=("auto", *TASKS),
    )
    layers: tuple[str, ...] = option(
        ("*",),
        "layers of the --recipient that take a donor's parameters: patterns of names, ! "
        "excludes, e.g. *,!decoder_*; its head never does",
    )
    # Without a flag: read from the files that the flags name.
    files: tuple[str, ...] = option((), "recipient and donor of each pair in turn")
    digests: tuple[str, ...] = option((), "SHA-256 of each of `files`")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs and (self.recipient or self.donors):
            raise InputError(
                "--pairs names recipients and donors; leave --recipient and --donors out."
            )
        if bool(self.recipient) != bool(self.donors):
            lacking = "donors" if self.recipient else "recipient"
            raise InputError(
                "networks that exist are measured with --recipient=R.keras "
                f"--donors=A.keras,...; --{lacking} is not given."
            )

        for name in ("task", "layers"):
            if not self and getattr(self, name) != getattr(GivenSpec, name):
                raise InputError(
                    f"--{name} is of networks that exist: give --recipient and --donors too; "
                    "what a study trains, --directions says."
                )

    def __bool__(self) -> bool:
        return bool(self.recipient or self.pairs)
