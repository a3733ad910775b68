"""The tab in a real browser: found, read, toggled, clicked, by mouse and keyboard, live."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree

import browsing
import planted
import planted_study
import pytest

from tfreuse.analysis import intervals

sync_api = browsing.sync_api

pytestmark = browsing.MARKS
HOSTILE = "<img src=x onerror=window.hacked=1>"
SITE = {"site_kind": "layer", "depth": 0, "group": "kernel"}
START = 120  # seconds that TensorBoard may take on a busy machine


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs")
    planted.write(path / "everything", planted_study.records(), planted_study.SPEC)
    hostile = planted.arm((0.5, 0.6, 0.4), site=HOSTILE, **SITE)
    planted.write(path / HOSTILE, hostile)
    growing = planted.study() + planted.stages()
    planted.write(path / "growing", growing[:20])
    planted.write(path / "little", planted.study())
    return path


@pytest.fixture(scope="module")
def server(logdir):
    """TensorBoard on the log directory; its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--port=0"]
    command += ["--host=127.0.0.1", f"--logdir={logdir}", "--load_fast=false"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        timer = threading.Timer(START, process.kill)
        timer.start()
        told = ""
        for line in process.stderr:
            told += line
            if found := re.search(r"at (http://127\.0\.0\.1:\d+/)", line):
                break
        else:
            raise AssertionError(told)
        timer.cancel()
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield found[1]
        process.terminate()
        drain.join()


@pytest.fixture(scope="module")
def browser():
    with browsing.launched() as found:
        yield found


@pytest.fixture
def opened(browser, server):
    """Opens the plugin's page; fails on any error in it and any request elsewhere."""
    with browsing.watched(browser, server) as made:

        def open_page(study="everything", entry=True, **more):
            page = made(**more)
            if entry:
                page.goto(f"{server}data/plugin_entry.html?name=reusability")
                pick(page, study)
                page.locator(f".head:has-text('{study}')").wait_for() if (
                    "'" not in study
                ) else None
            else:
                page.goto(server)
            return page

        yield open_page


def pick(page, study):
    """Chooses the study and waits until its answers are there."""
    page.locator(".head .choice").wait_for()
    radio = page.get_by_role("radio", name=study, exact=True)
    radio.check()
    page.locator(".answers > *").first.wait_for()


def shown(page):
    """Text of the heat map's cells."""
    return page.locator(".heat .mark text").all_text_contents()


def settled(page, before):
    page.wait_for_function(
        "before => JSON.stringify([...document.querySelectorAll('.heat .mark text')]"
        ".map(one => one.textContent)) !== before",
        arg=json.dumps(before, separators=(",", ":")),
    )


def test_tensorboard_opens_on_the_tab(opened):
    page = opened(entry=False)
    page.wait_for_url("**/#reusability")
    assert page.locator("text=Reusability").count()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="What can I reuse?").wait_for()
    frame.get_by_role("radio", name="everything").check()
    frame.locator(".heat .mark").first.wait_for()


def test_the_first_look_answers_and_every_panel_is_there(opened):
    page = opened()
    page.locator(".shapley .figure-shapley").first.wait_for()
    assert page.locator(".headline").inner_text().startswith("Not reusable: kernel")
    fold = page.locator(".answers .answer").first.bounding_box()
    assert fold["y"] < 500  # the answer is in sight without scrolling
    assert page.locator(".card").count() == 5
    assert page.locator(".card .chip").all_inner_texts()[0] == "? inconclusive"
    # statistics alone have no cell after recalibration
    assert page.locator(".reasons .figure-reasons .mark").count() == 9 * 6 - 1
    assert page.locator(".ladder .figure-ladder").count() >= 6
    assert page.locator(".drawing .mark[data-kind=stage]").count() == 7 * 6
    assert not page.locator(".warning").count()


def test_missing_panels_say_which_flags_to_add(opened):
    page = opened("little")
    hint = page.locator(".shapley .hint")
    hint.wait_for()
    assert "--shapley" in hint.locator("code").all_inner_texts()


def test_a_late_answer_of_another_study_is_not_shown(opened):
    page = opened("little")
    page.locator(".ladder > *").first.wait_for()
    ladder, held = page.locator(".ladder").inner_text(), []
    page.route(
        re.compile(r"/ladder\?.*study=everything"), lambda route: held.append(route)
    )
    pick(page, "everything")
    while not held:
        page.wait_for_timeout(20)
    assert not page.locator(".ladder > *").count()  # nor the earlier study's meanwhile
    pick(page, "little")
    page.locator(".ladder > *").first.wait_for()
    with page.expect_response(re.compile("/ladder.*study=everything")):
        for route in held:
            route.continue_()
    page.wait_for_timeout(200)
    assert page.locator(".ladder").inner_text() == ladder


def test_every_toggle_changes_the_heat_map(opened):
    page = opened()
    page.locator(".heat .mark").first.wait_for()
    before = shown(page)
    page.get_by_role("radio", name="reusability index", exact=True).check()
    settled(page, before)
    assert (
        "reinitialised at single layers" in page.locator("div.heat .hint").inner_text()
    )
    before = shown(page)
    for name in ("stages", "drop", "reusability index", "seed 1"):
        page.get_by_role("radio", name=name, exact=True).check()
        settled(page, before)
        before = shown(page)
    page.wait_for_function(  # there is no test of one seed
        "() => document.querySelectorAll('.heat .hatch').length === 0"
    )
    page.get_by_role("radio", name="mean", exact=True).check()
    settled(page, before)
    before = shown(page)
    page.get_by_role("combobox", name="repair").select_option("recalibrated")
    settled(page, before)
    before = shown(page)
    page.get_by_role("radio", name="retention", exact=True).check()
    settled(page, before)
    for shape in (".hatch", "circle"):  # they come after the cells
        page.locator(f".heat .mark {shape}").first.wait_for(state="attached")


def test_the_keyboard_reaches_a_cell_and_comes_back(opened):
    page = opened()
    first = page.locator(".heat .mark").first
    first.focus()
    assert page.locator("#tip").inner_text().startswith("encoder_1_a_conv · kernel")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    sheet = page.locator("dialog[open]")
    sheet.locator(".figure-cell").first.wait_for()
    assert sheet.locator("h2").inner_text() == "bias · encoder_1_a_conv"
    assert "--groups=bias" in sheet.locator("pre").first.inner_text()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.dataset.group") == "bias"


def test_a_click_on_the_network_opens_its_stage(opened):
    page = opened()
    page.locator(".drawing .mark[data-site=bottleneck]").first.click()
    page.locator("dialog[open] .figure-cell").first.wait_for()
    assert page.locator("dialog h2").inner_text() == "kernel · bottleneck"
    assert page.locator("dialog .figure-cell .mark").count() > 6


def test_the_network_is_saved_as_svg_and_png(opened, tmp_path):
    page = opened()
    page.locator(".drawing .mark").first.wait_for()
    for kind in ("SVG", "PNG"):
        with page.expect_download() as coming:
            page.locator(".drawing").get_by_role("button", name=f"Save {kind}").click()
        name = coming.value.suggested_filename
        assert re.fullmatch(rf"[\w.-]+\.{kind.lower()}", name)
        coming.value.save_as(tmp_path / kind)
    drawn = xml.etree.ElementTree.parse(tmp_path / "SVG").getroot()
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "bottleneck" in texts and "as transplanted" in texts
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")


def test_hostile_names_are_shown_and_do_nothing(opened):
    page = opened(HOSTILE)
    cell = page.locator(".heat .mark").first
    cell.click()
    page.locator("dialog[open] .figure-cell").first.wait_for()
    assert HOSTILE in page.locator("dialog h2").inner_text()
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_growing_study_comes_to_the_reader(opened, logdir):
    page = opened("growing")
    page.locator(".status:has-text('20 arms measured')").wait_for()
    page.get_by_role("radio", name="autoencoder").count()
    page.locator(".card summary").first.click()
    more = planted.study() + planted.stages()
    with open(logdir / "growing/records.jsonl", "a") as file:
        file.writelines(one.to_line() for one in more[20:])
    page.locator(f".status:has-text('{len(more)} arms measured')").wait_for()
    page.locator(".heat .mark").first.wait_for()
    assert page.locator(".card details").first.get_attribute("open") is not None


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_page(opened, tmp_path, width, scheme):
    page = opened(width=width, scheme=scheme)
    page.locator(".shapley .figure-shapley").first.wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    place = pathlib.Path(os.environ.get("TFREUSE_SCREENSHOTS", tmp_path))
    page.screenshot(path=place / f"tab_{width}_{scheme}.png", full_page=True)
    page.locator(".heat .mark").nth(3).click()
    page.locator("dialog[open] .figure-cell").first.wait_for()
    page.screenshot(path=place / f"cell_{width}_{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_numbers_are_written_as_in_the_report(opened):
    page = opened("little")
    values = [0, 1, 0.999, 0.9901, 0.99, -0.004, -0.00004, 0.1234, -1.5, 99.994, 123.4]
    told = page.evaluate(
        "async values => { const m = await import('./format.js');"
        " return values.map(m.number); }",
        values,
    )
    assert told == [intervals.number(value) for value in values]


def test_a_figure_of_anything_but_shapes_and_text_is_refused(opened):
    page = opened("little")
    for inside in (
        "<script>window.hacked=1</script>",
        '<g onx="window.hacked=1"/>',  # the browser itself reports a real handler
        '<a href="#x"/>',
        "<foreignObject/>",
    ):
        with pytest.raises(sync_api.Error, match="no drawing of shapes and text"):
            page.evaluate(
                "async text => (await import('./figure.js')).figure([text])",
                f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>',
            )
    assert page.evaluate("window.hacked") is None
