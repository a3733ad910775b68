"""Drawings: markup that is well formed whatever the text, and files that need nothing else."""

import re
from xml.etree import ElementTree

from tfreuse.report import bundle, figures
from tfreuse.report.figures import marks, svg

NAME = '<script>alert(1)</script>"&\x07\u202e'


def drawn():
    drawing = svg.Drawing(200, 50, kind="heat", title=NAME, description=NAME)
    with drawing.group(data={"site": NAME}, tip=[NAME, "n = 3"]):
        drawing.rect(1 / 3, 2, 10, 20, fill=("#fff", "#000"), class_=NAME)
        drawing.text(5, 20, NAME, anchor="middle", size=9)
    drawing.line(0, 1, 2, 3, class_="axis", stroke_width=None)
    drawing.polyline([(0, 0), (1, 2.504)])
    return drawing


def test_text_never_becomes_markup():
    for markup in (str(drawn()), svg.standalone(drawn())):
        root = ElementTree.fromstring(markup)
        assert "<script" not in markup and "\x07" not in markup
        assert len([node for node in root.iter() if node.tag.endswith("text")]) == 1


def test_a_mark_has_its_data_and_its_tip():
    root = ElementTree.fromstring(str(drawn()).replace("xmlns=", "x="))
    (mark,) = root.iter("g")
    assert mark.get("class") == "mark"
    assert mark.get("data-site").startswith("<script>")
    assert mark.find("title").text.endswith("\nn = 3")
    assert root.find("line").attrib == {
        "x1": "0", "y1": "1", "x2": "2", "y2": "3", "class": "axis",
    }  # fmt: skip
    assert root.find("polyline").get("points") == "0,0 1,2.5"
    assert mark.find("rect").get("x") == "0.33"


def test_a_file_has_its_own_style_and_one_theme():
    whole = svg.beside([drawn(), drawn(), drawn()], "three", widest=450)
    assert (whole.width, whole.height) == (448, 148)
    text = svg.standalone(whole)
    ElementTree.fromstring(text.encode())
    assert "light-dark" not in text and "var(" not in text and "@media" not in text
    assert 'fill="#fff"' in text and "<style>" in text


def test_a_figure_that_the_page_saves_keeps_every_look_of_the_style_sheet():
    """What `static/export.js` leaves out is lost in the saved file: dots without round ends vanish."""
    sheet = re.sub(r"/\*.*?\*/", "", bundle.read("figures.css"), flags=re.DOTALL)
    used = set(re.findall(r"([a-z-]+):", sheet))
    assert "stroke-linecap" in used
    (names,) = re.findall(r"LOOK = \[(.*?)\]", bundle.read("export.js"), re.DOTALL)
    kept = set(re.findall(r'"([a-z-]+)"', names))
    assert used - kept == {"font-variant-numeric", "pointer-events"}


def test_a_saved_figure_replaces_the_png_of_an_earlier_version(tmp_path):
    (tmp_path / "stage_x.png").write_bytes(b"old")
    figures.save([drawn()], [{"site": "a", "mean": 1.0}], tmp_path, "stage_x", NAME)
    assert {path.name for path in tmp_path.iterdir()} == {"stage_x.svg", "stage_x.csv"}
    ElementTree.parse(tmp_path / "stage_x.svg")


def test_a_name_that_is_too_long_ends_in_an_ellipsis():
    assert svg.fitted("conv", 100) == "conv"
    assert svg.fitted("encoder_1_conv_1", 60) == "encoder_…"
    assert svg.text_width("W", 10) > svg.text_width("i", 10)


def test_arrows_at_both_ends_of_an_axis_are_drawn_in_one_order():
    drawing = svg.Drawing(120, 20, kind="forest", title="")
    row = {"mean": 0.5, "low": -5.0, "high": 5.0, "n": 3}
    marks.interval(drawing, marks.Axis(0, 1, 10.0, 110.0), 10.0, row, fill="#000")
    places = [float(x) for x in re.findall(r'<path d="M([0-9.]+)', str(drawing))]
    arrows = [x for x in places if not 20 < x < 100]
    assert len(arrows) == 2 and arrows == sorted(arrows)
