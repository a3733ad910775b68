"""What would move, decided and checked, before anything is written.

    plan = make(donor_variables, recipient_variables, roles="stats", layers=["encoder_*"])
    print(plan.table())
    plan.check()  # raises unless everything that was selected is accounted for
    text = json.dumps(plan.to_json()); plan == Plan.from_json(json.loads(text))

A plan is a value: equal plans have equal hashes. It knows variables by description only
(`Variable`), so the same plan serves live models and files; this package imports no TensorFlow.
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
