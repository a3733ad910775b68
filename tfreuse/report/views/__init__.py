"""What the page asks about a study, answered from its records: the tab and the report show it.

    found = snapshot.Snapshot(source)
    overview.study(name, found)          # how far it is, the answers and the verdicts
    maps.heat(found, part, "stage", "retention", "none", -1)

Answers are dicts that `snapshot.plain` makes fit for JSON. Imports no TensorFlow.
"""
