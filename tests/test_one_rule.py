"""Verdict, heat map, tab and text say the same of the same seeds, in random small studies."""

import dataclasses

import numpy as np
import pictured
import planted
import pytest
from test_planted_truth import HARD

from tfreuse import report, specs
from tfreuse.analysis import barriers, intervals, paths, tables
from tfreuse.report import source
from tfreuse.report.figures import marks
from tfreuse.report.views import maps, overview
from tfreuse.report.views.snapshot import Snapshot

CLAIMS = {"H2": "affine", "H4": "bias"}  # retains 1 - margin: also asked of each cell
WORDS = {
    "supported": "reusable",
    "refuted": "not reusable",
    "inconclusive": "open",
}


def random_study(path, number):
    """A study whose only stage is the whole network: its cells are those of the verdicts."""
    generator = np.random.default_rng(number)
    seeds = int(generator.choice([3, 6, 10, 80]))
    groups = ("affine",) if number % 2 else ("kernel", "bias", "affine", "stats")
    spec = specs.StudySpec(
        directions=(planted.TO_MASKS,),
        seeds=seeds,
        groups=groups,
        sites=("stage", "all"),
        margin=float(generator.choice([0.05, 0.3, 0.6])),
    )
    records = []
    for group in groups:
        draw, mean = HARD[generator.integers(len(HARD))], generator.uniform(0.02, 0.98)
        values = draw(generator, mean, seeds)
        if generator.random() < 0.5:
            values = np.full(seeds, generator.choice([-60.0, 0.0, 1.0, 1.2]))
        site = {"site_kind": "stage", "site": "stage_0", "depth": 0}
        records += planted.arm(values, group=group)
        records += planted.arm(values, group=group, **site)
    return spec, source.load(planted.write(path, records, spec))


@pytest.mark.parametrize("number", range(16))
def test_no_two_places_say_two_things_of_the_same_seeds(tmp_path, number):
    spec, study = random_study(tmp_path / "study", number)
    snapshot = Snapshot(study)
    (part,) = snapshot.parts
    seen = overview.study("study", snapshot)
    answers = {row["group"]: row for row in seen["parts"][0]["answers"]}
    forest = {r["group"]: r for r in tables.forest_rows(study.parts[part], spec)}
    cells = {row["group"]: row for row in snapshot.subjects[part].heat("stage")}
    (drawing,) = maps.heat(snapshot, part, "stage", "retention", "none", -1)["drawings"]
    drawn = {group: mark for (_, group), mark in pictured.cells(drawing).items()}
    judged = {v.hypothesis: v for v in snapshot.verdicts if v.verdict != "not testable"}
    text = report.summary(snapshot.verdicts)
    for name, verdict in judged.items():
        # one interval, one p: the verdict follows from either
        effect = verdict.effect
        decided = verdict.verdict in ("supported", "refuted")
        assert decided == (verdict.p < 1 - spec.confidence)
        assert decided == (not effect.low <= verdict.threshold <= effect.high)
        (line,) = (x for x in text.splitlines() if x.startswith(f"  {name}  "))
        assert verdict.verdict in line and str(effect) in line
        (shown,) = (v for v in seen["verdicts"] if v["hypothesis"] == name)
        assert shown["verdict"] == verdict.verdict
        assert marks.words(effect.to_row()) in shown["card"]
    tested = [v.p for v in snapshot.verdicts if v.p is not None]
    adjusted = [v.p_holm for v in snapshot.verdicts if v.p is not None]
    assert adjusted == pytest.approx(intervals.holm(tested))
    for name, group in CLAIMS.items():
        if name not in judged:
            continue
        verdict, row, answer = judged[name], cells[group], answers[group]
        ends = verdict.effect.to_row()
        (bar,) = answer["effects"]
        for other in (row, forest[group], bar):
            assert {key: other[key] for key in ends} == pytest.approx(ends)
        assert answer["word"] == WORDS[verdict.verdict]
        words = marks.words(ends)
        assert drawn[group].tip[1] == f"retention {words}, n = {spec.seeds}"
        # hatched means "not shown"; corrected for the cells, it says no more than the verdict
        hatched = drawn[group].has("path", "hatch")
        assert hatched == (not row["significant"])
        if verdict.verdict == "inconclusive":
            assert hatched
        if len(cells) == 1:
            assert hatched == (verdict.verdict == "inconclusive")
        if not hatched:
            side = "at least" if verdict.verdict == "supported" else "less than"
            assert (
                f"shown to retain {side} {verdict.threshold:g}" in drawn[group].tip[2]
            )


def test_the_random_studies_reach_every_verdict(tmp_path):
    verdicts = set()
    for number in range(16):
        _, study = random_study(tmp_path / f"{number}", number)
        verdicts |= {verdict.verdict for verdict in study.verdicts()}
    assert {"supported", "refuted", "inconclusive"} <= verdicts


def test_a_full_transplant_has_one_interval_in_every_figure():
    """Donors of the same task are each other's recipients: three pairs, wherever they stand."""
    spec = specs.StudySpec(
        directions=(planted.TO_MASKS,),
        groups=("kernel",),
        sites=("all",),
        controls=("other_seed",),
        strengths=(0.5, 1.0),
        seeds=6,
    )
    values = np.array([0.1, 0.3, 0.35, 0.4, 0.2, 0.6])
    records = [
        dataclasses.replace(r, donor=f"net-{r.seed ^ 1}", recipient=f"net-{r.seed}")
        for control in ("transfer", "other_seed")
        for alpha in spec.strengths
        for r in planted.arm(values, group="kernel", control=control, strength=alpha)
    ]
    arms = planted.only_part(records)
    forest = {row["control"]: row for row in tables.forest_rows(arms, spec)}
    ways = {
        row["control"]: row
        for row in barriers.rows(arms, spec)
        if row["alpha"] == 1 and row["quantity"] == "path"
    }
    (strength,) = (r for r in paths.strengths(arms, spec) if r["alpha"] == 1)
    on_stages = [
        dataclasses.replace(r, site_kind="stage", site=site, depth=depth)
        for depth, site in enumerate(("stage_0", "stage_1"))
        for r in records
        if r.strength == 1
    ]
    profiles = paths.profiles(planted.only_part(on_stages), spec)
    of_profiles = {(row["control"], row["n"]) for row in profiles}
    assert of_profiles == {("transfer", 6), ("other_seed", 3)}
    ends = "mean", "low", "high", "n", "method"
    for control, n in (("transfer", 6), ("other_seed", 3)):
        expected = {key: forest[control][key] for key in ends}
        assert expected["n"] == n
        assert {key: ways[control][key] for key in ends} == expected
    assert {key: strength[key] for key in ends} == {
        key: forest["transfer"][key] for key in ends
    }
