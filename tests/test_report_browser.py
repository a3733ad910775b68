"""report.html in a real browser, opened as a file: asked, toggled, saved, printed, and unscripted."""

import os
import pathlib
import xml.etree.ElementTree

import browsing
import planted
import planted_study
import pytest
import test_labels_report as labelled
import test_report_distributions as numbers
import test_report_views as views

from tfreuse import report, specs
from tfreuse.analysis.arms import Part
from tfreuse.report import arrays, embedded

pytestmark = browsing.MARKS
HOSTILE = "</script><img src=x onerror=window.hacked=1>"
PART = Part("unet", planted.TO_MASKS, "independent")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Studies with their reports: of all factors, of one seed, unfinished, hostile, empty."""
    path = tmp_path_factory.mktemp("reports")
    networks = {"segmentation-0": {"task": "segmentation", "metric": "mean_iou"}}
    planted.write(
        path / "everything",
        planted_study.records(),
        planted_study.SPEC,
        networks=networks,
    )
    arrays.write(path / "everything", PART, planted_study.arrays())
    for name, values in numbers.VALUES.items():
        (path / "everything/models" / name).mkdir(parents=True)
        model = numbers.network(**values)
        model.save(path / "everything/models" / name / "model.keras")
    seed = [one for one in planted.study() + planted.stages() if one.seed == 0]
    planted.write(path / "seed", seed)
    planted.write(path / "going", planted.study()[:7], specs.StudySpec())
    site = {"site_kind": "layer", "site": HOSTILE, "depth": 0, "group": "kernel"}
    planted.write(path / "hostile", planted.study() + planted.arm((0.5, 0.6), **site))
    labelled.write(path / "labels", labelled.planted())
    labelled.write(path / "gains", labelled.planted_gains(), labelled.DONORS)
    views.write(path / "labels", views.changed("name", HOSTILE))
    for study in path.iterdir():
        report.write(study)
    return path


@pytest.fixture(scope="module")
def browser():
    with browsing.launched() as found:
        yield found


@pytest.fixture
def opened(browser, studies):
    """Opens a report; fails on any error in it and any request, to a network or to a file."""
    with browsing.watched(browser, f"file://{studies}") as made:

        def open_page(study="everything", awaited="#app .answers > *", **more):
            page = made(**more)
            page.goto((studies / study / "report.html").as_uri())
            if more.get("java_script_enabled", True):
                page.locator(awaited).first.wait_for()
            return page

        yield open_page


def test_the_file_answers_as_the_tab_does(opened):
    page = opened()
    page.locator("#app .shapley .figure-shapley").first.wait_for()
    assert page.locator(".headline").inner_text().startswith("Not reusable: kernel")
    assert page.locator("#app .answer").first.bounding_box()["y"] < 500
    assert page.locator("#app .card").count() == 5
    # statistics alone have no cell after recalibration
    assert page.locator("#app .reasons .figure-reasons .mark").count() == 9 * 6 - 1
    assert page.locator("#app .ladder .figure-ladder").count() >= 6
    assert page.locator("#app .drawing .mark[data-kind=stage]").count() == 7 * 6
    assert not page.locator(".warning:visible").count()


def test_what_the_views_show_is_not_shown_twice(opened):
    page = opened()
    assert page.locator(".fallback").count() > 5
    assert page.locator(".fallback:visible").count() == 0
    for link in page.locator("nav a").all():
        place = page.locator(link.get_attribute("href"))
        assert link.is_visible() and place.is_visible()
    page.goto(f"{page.url}#which-channels")
    page.reload()
    page.locator("#app .figure-channels").first.wait_for()
    page.wait_for_function(
        "() => Math.abs(document.getElementById('which-channels').getBoundingClientRect().top) < 9"
    )


def test_toggles_change_the_heat_map(opened):
    page = opened()
    cells = page.locator("#app .heat .mark text")
    cells.first.wait_for()
    before = cells.all_text_contents()
    for name in ("stages", "drop", "reusability index", "seed 1", "mean"):
        page.get_by_role("radio", name=name, exact=True).check()
        page.wait_for_function(
            "before => [...document.querySelectorAll('#app .heat .mark text')]"
            ".map(one => one.textContent).join() !== before",
            arg=",".join(before),
        )
        before = cells.all_text_contents()
    page.get_by_role("radio", name="retention", exact=True).check()
    page.get_by_role("combobox", name="repair").select_option("recalibrated")
    page.locator(".drawing svg:has-text('after recalibration')").wait_for()
    assert page.locator("div.heat .hint").all_inner_texts() == []


def test_a_cell_opens_with_its_pictures(opened):
    page = opened()
    page.get_by_role("radio", name="all layers", exact=True).check()
    page.locator("#app [data-site=all] .mark[data-group=kernel]").click()
    page.locator("dialog[open] .figure-cell").first.wait_for()
    assert page.locator("dialog h2").inner_text() == "kernel · all layers"
    image = page.locator("dialog img[src^='data:']")
    image.wait_for()
    width = "async (image) => (await image.decode(), image.naturalWidth)"
    assert image.evaluate(width) == 5 * 33 * 6  # 32 pixels and a gap, enlarged
    page.keyboard.press("Escape")
    page.locator("#app .drawing .mark[data-site=bottleneck]").first.click()
    page.locator("dialog h2:has-text('bottleneck')").wait_for()


def test_a_cell_shows_the_numbers_of_donor_and_recipient(opened):
    page = opened()
    page.locator("#app .drawing .mark[data-site=encoder_1]").first.click()
    shown = page.locator("dialog .figure-spread")
    shown.wait_for()
    for side in ("donor", "recipient"):
        outline = shown.locator(f"path.of-{side}").get_attribute("d")
        assert outline.count("V90.0H") == 39 and "V20.0H" in outline
    page.keyboard.press("Escape")
    page = opened("seed")
    page.locator("#app .drawing .mark[data-site=encoder_1]").first.click()
    page.locator("dialog .hint:has-text('models/NETWORK')").wait_for()


def test_the_network_is_saved_as_svg_and_png(opened, tmp_path):
    page = opened()
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            page.locator(".drawing").get_by_role("button", name=f"Save {kind}").click()
        download.value.save_as(tmp_path / kind)
    drawn = xml.etree.ElementTree.parse(tmp_path / "SVG").getroot()
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "bottleneck" in texts
    across, down, width, _ = map(float, drawn.get("viewBox").split())
    assert (across, down) == (-12, -12) and width == float(drawn.get("width"))
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("study", ["seed", "going"])
def test_a_study_of_one_seed_and_one_that_goes_on_are_shown(opened, study):
    page = opened(study)
    assert "affine, stats, all." in page.locator(".headline").inner_text()
    hint = page.locator("#app .shapley .hint")
    hint.wait_for()
    assert "--shapley" in hint.locator("code").all_inner_texts()
    assert page.locator("aside.warning:has-text('Incomplete')").is_visible()


def test_hostile_names_are_shown_and_do_nothing(opened):
    page = opened("hostile")
    page.locator("#app .heat .mark").first.click()
    page.locator("dialog[open] .figure-cell").first.wait_for()
    assert HOSTILE in page.locator("dialog h2").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_label_curves_and_the_advice_are_shown(opened, width):
    page = opened("labels", awaited="#app .labels .figure", width=width)
    assert page.locator("#app .labels .figure .curve").count() == 3
    assert page.locator("#app .labels .chip").all_inner_texts() == [
        "supported",
        "refuted",
    ]
    card = page.locator(".advice .card")
    assert f"✓ take {HOSTILE}" in card.locator(".chip").inner_text()
    assert "0.05 [0.01, 0.09]" in card.inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.locator(".answers > *").count()


def test_long_names_of_donors_break_on_a_narrow_page(opened):
    page = opened("gains", awaited="#app .labels .figure", width=400)
    assert page.locator("#app .labels .figure .mark .interval").count() == 6
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_study_without_label_curves_says_how_to_have_them(opened):
    page = opened()
    hint = page.locator("#app .labels .hint")
    hint.wait_for()
    assert "--label_counts" in hint.locator("code").all_inner_texts()
    assert not page.locator(".advice > *").count()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_page(opened, tmp_path, width, scheme):
    page = opened(width=width, scheme=scheme)
    page.locator("#app .shapley .figure-shapley").first.wait_for()
    page.locator("#app .drawing svg").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = "rgb(16, 21, 28)"
    assert (colour == dark) == (scheme == "dark")
    place = pathlib.Path(os.environ.get("TFREUSE_SCREENSHOTS", tmp_path))
    page.screenshot(path=place / f"report_{width}_{scheme}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_stands_what_needs_no_script(opened, tmp_path, scheme):
    page = opened(scheme=scheme)
    shown = page.locator("main > section figure :is(img, svg)").count()
    page.emulate_media(media="print")
    assert not page.locator("#app").is_visible()
    assert page.locator(".fallback .card:visible").count() == 5
    assert page.locator("main > section figure :is(img, svg):visible").count() == shown
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == "rgb(255, 255, 255)"
    place = pathlib.Path(os.environ.get("TFREUSE_SCREENSHOTS", tmp_path))
    page.pdf(path=place / "report.pdf", format="A4")


def test_without_scripts_the_page_tells_the_same(opened):
    page = opened(java_script_enabled=False, scheme="dark")
    assert page.locator("article.card:visible").count() == 5
    assert page.locator("#network").count() == 0
    assert page.get_by_role("group", name="single stages").first.is_visible()
    colour = page.locator("body").evaluate("one => getComputedStyle(one).color")
    assert colour == "rgb(230, 234, 240)"


def test_a_page_whose_answers_are_damaged_keeps_what_needs_no_script(
    browser, studies, tmp_path
):
    text = (studies / "seed/report.html").read_text()
    (tmp_path / "report.html").write_text(
        text.replace(embedded.HEAD, f"{embedded.HEAD}A")
    )
    page = browser.new_page()
    with page.expect_event("pageerror"):
        page.goto((tmp_path / "report.html").as_uri())
    page.locator("article.card").first.wait_for()
    assert not page.locator("#app").is_visible()
    page.close()
