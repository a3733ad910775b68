"""Views of a study's records, which the tab and the report's page show alike.

    study = snapshot.Snapshot(source)
    overview.study(name, study)          # progress, answers and verdicts
    maps.heat(study, part, "stage", "retention", "none", -1)

Views return dicts, which `snapshot.plain` converts to JSON's types. Imports no TensorFlow.
"""
