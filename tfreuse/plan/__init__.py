"""Decides and checks the moves of a transplant, before anything is written.

    plan = make(donor_variables, recipient_variables, roles="stats", layers=["encoder_*"])
    print(plan.table())
    plan.check()  # raises unless all selected variables are accounted for
    text = json.dumps(plan.to_json()); plan == Plan.from_json(json.loads(text))

A plan is a value: equal plans have equal hashes. It has descriptions of variables (`Variable`),
not their values, so that one plan serves live models and files. No TensorFlow here.
"""

from tfreuse.plan import inventory
from tfreuse.plan.adapters import adapt
from tfreuse.plan.making import make
from tfreuse.plan.selection import read_mapping, select
from tfreuse.plan.values import (
    AMBIGUOUS,
    COPY,
    KEEP,
    MISMATCH,
    MISSING,
    PROBLEMS,
    REFUSED,
    SAME,
    UNUSED,
    Entry,
    Plan,
)
from tfreuse.plan.variables import Variable, stage

__all__ = [
    "AMBIGUOUS",
    "COPY",
    "KEEP",
    "MISMATCH",
    "MISSING",
    "PROBLEMS",
    "REFUSED",
    "SAME",
    "UNUSED",
    "Entry",
    "Plan",
    "Variable",
    "adapt",
    "inventory",
    "make",
    "read_mapping",
    "select",
    "stage",
]
