"""Reports on planted studies: what is in them, what is escaped, and what is said to be missing."""

import csv
import html.parser
import json
import re
import subprocess
import sys

import planted
import pytest
from PIL import Image

from tfreuse import records, report, specs
from tfreuse.analysis import verdicts
from tfreuse.errors import InputError
from tfreuse.report import markdown, source

HOSTILE = "<script>alert(1)</script>|$\\frac{$ `a`"  # no formula, no tag, no code


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The directory of a complete study with its report."""
    networks = {
        "segmentation-0": {
            "task": "segmentation", "metric": "mean_iou", "mean_iou": 0.8, "floor": 0.2,
            "parameters": 400, "seconds": 12.3,
        },
        "segmentation-1": {"metric": "mean_iou", "value": 0.7},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("planted") / "study"
    path = planted.write(path, planted.study() + planted.stages(), networks=networks)
    report.write(path)
    return path


class Page(html.parser.HTMLParser):
    """Checks that tags are closed in order; keeps the tags, links and the text outside them."""

    VOID = ("meta", "img", "line", "rect", "circle", "link", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.sources = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "srcset", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data


def test_a_report_is_pages_figures_their_csv_twins_and_verdicts(written):
    names = {path.name for path in written.iterdir()}
    assert {"report.html", "report.md", "verdicts.json", "figures"} <= names
    pictures = {path.stem for path in (written / "figures").glob("*.[sp][vn]g")}
    assert pictures == {path.stem for path in (written / "figures").glob("*.csv")}
    kinds = {name.split("_unet_")[0] for name in pictures}
    assert kinds == {"forest", "network", "stage", "layer", "profiles", "ladder"}
    for path in (written / "figures").glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 200


def test_verdicts_json_holds_what_judge_finds(written):
    held = json.loads((written / "verdicts.json").read_text())
    found = verdicts.judge(planted.study() + planted.stages(), planted.SPEC)
    assert held["verdicts"] == [one.to_json() for one in found]
    assert held["settings"] == planted.SPEC.to_json()


def test_the_page_needs_nothing_from_outside(written):
    page = Page((written / "report.html").read_text())
    assert page.tags.count("script") == 3 and "link" not in page.tags
    assert not {"iframe", "object", "embed", "form"} & set(page.tags)
    assert page.tags.count("title") > 10  # of the marks in the figures
    others = [one for one in page.sources if not one.startswith(("data:", "#"))]
    assert all(re.fullmatch(r"figures/\w[\w-]*\.csv", one) for one in others)
    assert all((written / one).exists() for one in others)


def test_the_page_says_what_a_reader_must_know(written):
    text = Page((written / "report.html").read_text()).text
    for words in (
        "supported",
        "Gaffke's bounds",
        "H1, H3 cannot be supported (that takes 6 seeds)",
        "Floor: mean_iou 0.20",
        "n = 3 cannot settle it, whatever the seeds retain: it takes 6",
        "counts as 0",
        "were not available to us",
        "passed: 3 of 3 exact",
        "Heads, including the auxiliary one, are never transplanted",
        f"python tools/study.py --flagfile={written}/config.flags",
        "keras 3.15",
        "seeds each. Donor and recipient share neither initial values",
    ):
        assert words in text, words
    assert "Incomplete" not in text


def test_every_hypothesis_has_its_card_and_its_row(written):
    text = (written / "report.html").read_text()
    assert text.count("<article") == 5
    for name in ("H1", "H2", "H3", "H4", "H5"):
        assert f"<b>{name}</b>" in text
        assert f'">{name}</td>' in text


def test_markdown_links_the_figures_and_holds_the_verdict_table(written):
    text = (written / "report.md").read_text()
    links = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert len(links) == 12 and all((written / link).exists() for link in links)
    assert re.search(
        r"^\| H3 \| unet, [^|]+ \| ❔ inconclusive \| 0\.05 ", text, re.MULTILINE
    )


def test_names_are_shown_and_do_nothing_else(tmp_path):
    records = planted.study() + planted.arm(
        (0.5, 0.6, 0.7), site_kind="layer", site=HOSTILE, depth=0, group="kernel"
    )
    records += planted.arm((0.5, 0.6, 0.7), architecture=HOSTILE, group="kernel")
    networks = {HOSTILE: {"task": HOSTILE, "metric": "mean_iou", "mean_iou": 0.8}}
    path = planted.write(tmp_path / "study", records, networks=networks)
    report.write(path)
    text = (path / "report.html").read_text()
    page = Page(text)
    assert "alert(1)" in page.text and page.tags.count("script") == 3
    assert HOSTILE in page.text
    lines = (path / "report.md").read_text().splitlines()
    assert not any(re.search(r"(?<!\\)<script", line) for line in lines)
    assert all(
        "<" not in p.name and "$" not in p.name for p in (path / "figures").iterdir()
    )
    with open(next((path / "figures").glob("layer*.csv")), newline="") as file:
        assert {row["site"] for row in csv.DictReader(file)} == {HOSTILE}


def test_markdown_escapes_what_would_act():
    assert markdown.escape("a|b <i> [x](y) `c`\nd") == r"a\|b \<i\> \[x\](y) \`c\`\\nd"


def test_a_study_in_progress_is_reported_with_what_is_missing(tmp_path):
    records = [
        r for r in planted.study() if r.seed < 2 and (r.seed, r.group) != (1, "stats")
    ]
    path = planted.write(tmp_path / "study", records, specs.StudySpec())
    found = report.write(path)
    assert {one.verdict for one in found} == {"not testable"}
    text = Page((path / "report.html").read_text()).text
    for words in (
        "Incomplete",
        "unet, autoencoder → segmentation: 2 of 3 seeds",
        "seed 1 lacks 1 of 5 arms",
        "unet, segmentation → autoencoder: 0 of 3 seeds",
        "lists no trained networks yet",
    ):
        assert words in text, words


def test_a_study_without_records_or_settings_still_has_a_report(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    assert report.write(tmp_path) == []
    text = Page((tmp_path / "report.html").read_text()).text
    assert "No arm has been measured yet" in text
    assert "are the defaults, not the declared values" in text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (None, "", "holds no study"),
        ("study.json", "{", "is no JSON"),
        ("study.json", "[]", "expected a JSON object"),
        ("study.json", '{"specs": {"study": {"sedes": 3}}}', "sedes"),
        ("records.jsonl", "{}\n", "line 1"),
    ],
)
def test_what_is_no_study_is_refused_and_nothing_is_written(
    tmp_path, name, content, words
):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        report.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ([name] if name else [])


def test_the_summary_fits_a_terminal_and_names_verdict_effect_n_and_reason():
    records = planted.study() + planted.arm((0.5, 0.5, 0.5), architecture="a" * 150)
    found = verdicts.judge(records, specs.StudySpec())
    text = report.summary(found)
    assert max(map(len, text.splitlines())) <= 100
    line = next(
        line for line in text.splitlines() if line.startswith("  H3  inconclusive")
    )
    assert "0.05 [0.01, 0.72]" in line and "n = 3" in line
    assert "retention(kernel) lies" in text
    assert "No verdict" in report.summary([])


def test_writing_again_gives_the_same_bytes(written):
    names = ["report.html", "report.md", "verdicts.json"]
    before = [(written / name).read_bytes() for name in names]
    shown = []
    report.write(written, lambda share, step: shown.append((share, step)))
    assert before == [(written / name).read_bytes() for name in names]
    shares = [share for share, _ in shown]
    assert shares == sorted(shares) and min(shares) >= 0 and shares[-1] == 1
    assert [*dict.fromkeys(step for _, step in shown)] == [
        "draw the figures", "draw the page's views",
    ]  # fmt: skip


def test_pngs_of_figures_that_are_svg_now_are_removed_and_no_others(tmp_path):
    path = planted.write(tmp_path / "study", planted.study())
    part = f"unet_{planted.TO_MASKS}"
    (path / "figures").mkdir()
    former = [f"{kind}_{part}.png" for kind in ("forest", "stage", "strip", "norms")]
    others = [f"kernels_{part}.png", "forest_mine.png", f"mine_{part}.png"]
    for name in former + others:
        (path / "figures" / name).write_bytes(b"old")
    report.write(path)
    assert not any((path / "figures" / name).exists() for name in former)
    assert all((path / "figures" / name).exists() for name in others)
    assert (path / f"figures/forest_{part}.svg").exists()


def test_a_study_is_read_once_until_it_changes(tmp_path, monkeypatch):
    path = planted.write(tmp_path / "study", planted.study())
    reads = []
    read = records.read
    monkeypatch.setattr(
        records, "read", lambda log, *rest: reads.append(log) or read(log, *rest)
    )
    report.summary(report.write(path), path)
    assert len(reads) == 1
    with open(path / "records.jsonl", "ab") as log:
        log.write(planted.record(0.5, seed=9).to_line().encode())
    assert 9 in {record.seed for record in source.load(path).records}
    assert len(reads) == 2


def test_importing_the_report_is_quick_because_it_leaves_heavy_libraries_alone():
    heavy = ("tensorflow", "keras", "matplotlib", "scipy", "PIL")
    program = (
        "import sys; from tfreuse import report; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
