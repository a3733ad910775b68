"""Each block of code in README and docs is run, or parsed, or marked as not run.

A fenced block is `sh`, `python` or `text`. The line before its fence may be a comment::

    <!-- run: GROUP -->        the blocks of a page's group run in order, in one folder
    <!-- not run: REASON -->   nothing checks it

A block of `sh` without a comment holds commands of tools/ alone: their flags are parsed, and the
specs made of them. A block of `python` has a comment.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import commands
import numpy as np
import planted
import planted_study
import pytest

from tfreuse import checkpoints, specs
from tfreuse.cli import app
from tfreuse.specs.advice import AdviceSpec
from tfreuse.specs.labels import LabelSpec
from tfreuse.specs.runner import RunnerSpec

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- ((?:not )?run): *(.+?) *-->\n)?^```(\w*)\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

# Added to the commands of blocks that run: the smallest work that a tool does.
SMALLER = {
    "train": "--steps=2 --batch_size=2 --validations=1 --image_size=32,32 --train_examples=8 "
    "--test_examples=4",
    "evaluate": "--image_size=32,32",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    mark: str  # "run", "not run" or ""
    group: str  # or the reason why it is not run
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """Returns the words of each command; `a && b` are two, and `A=1 b` is b."""
        commands = []
        for line in re.sub(r"\\\n *", " ", self.text).splitlines():
            words = shlex.split(line, comments=True)
            for splits, part in itertools.groupby(words, "&&".__eq__):
                command = list(itertools.dropwhile(re.compile(r"\w+=").match, part))
                commands += [] if splits else [command]
        return commands

    def tools(self) -> list[list[str]]:
        """Returns the commands of tools/, from the tool's name on."""
        return [
            words[1:]
            for words in self.commands()
            if words[0] == "python" and words[1].startswith("tools/")
        ]


@functools.cache
def blocks() -> list[Block]:
    fenced = []
    for page in PAGES:
        text = page.read_text()
        assert text.count("\n```") == 2 * len(BLOCK.findall(text)), (
            f"{page}: open fence"
        )
        for match in BLOCK.finditer(text):
            mark, group, language, code = match.groups(default="")
            line = text.count("\n", 0, match.start(3)) + 1
            name = str(page.relative_to(ROOT))
            fenced.append(Block(name, line, mark, group, language, code))
    return fenced


def complaint(block: Block) -> str:
    """Returns an error in a block's language or comment; "" without one."""
    if block.language not in ("sh", "python", "text"):
        return f"its language is {block.language!r}; expected sh, python or text"
    if block.mark or block.language == "text":
        return ""
    if block.language == "python" or len(block.tools()) < len(block.commands()):
        return "it is neither run nor only commands of tools/: give it a comment"
    return ""


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_a_block_is_run_or_parsed_or_marked_as_not_run(block):
    assert complaint(block) == ""


def test_a_block_that_nothing_checks_is_found():
    block = Block(
        "README.md", 1, "", "", "sh", "python tools/study.py && pip install x\n"
    )
    assert "neither run" in complaint(block)
    assert complaint(dataclasses.replace(block, mark="not run")) == ""
    assert complaint(dataclasses.replace(block, text="python tools/study.py\n")) == ""
    assert "expected sh" in complaint(dataclasses.replace(block, language=""))
    assert "neither run" in complaint(dataclasses.replace(block, language="python"))


# ---------------------------------------------------------------------------- parsing

KINDS = {  # the specs that a command makes of its flags
    "study": (
        specs.StudySpec, LabelSpec, specs.TrainSpec, specs.ModelSpec, specs.GivenSpec,
        specs.DataSpec, RunnerSpec,
    ),
    "train": (specs.TrainSpec, specs.ModelSpec, specs.DataSpec, specs.DeviceSpec),
    "advise": (AdviceSpec, specs.ModelSpec, specs.DataSpec),
    "evaluate": (specs.DataSpec,),
    "export": (specs.DataSpec,),
    "predict": (specs.PredictSpec,),
}  # fmt: skip


def parsed(words: list[str]) -> str:
    """Returns the error message of a command of tools/; "" if its flags are right.

    The command makes its specs of the flags instead of working.
    """
    name = pathlib.Path(words[0]).stem
    module = commands.module(name)

    def check(*verb):
        for kind in KINDS.get(name, ()):
            own = getattr(module, "_VARIED", ()) if kind is specs.TrainSpec else ()
            unset = [
                field
                for field in kind.__dataclass_fields__
                if field not in app.FLAGS or field in own
            ]
            app.spec(kind, **{field: getattr(kind, field) for field in unset})

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(ROOT):
        patch.setattr(module, "main", check)
        done = commands.run(name, *words[1:])
    status = f"status {done.returncode}" if done.returncode else ""
    return done.stderr.strip() or status


def test_commands_have_flags_that_exist_with_values_that_fit():
    tools = [(b, words) for b in blocks() if b.language == "sh" for words in b.tools()]
    assert len(tools) > 30
    wrong = [
        f"{block}: {shlex.join(words)}\n    {error}"
        for block, words in tools
        if (error := parsed(words))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_command_with_a_wrong_flag_or_value_is_found():
    assert parsed(["tools/study.py", "--seeds=3"]) == ""
    wrong = [
        ["tools/train.py", "--seeds=3"],
        ["tools/study.py", "--seds=3"],
        ["tools/study.py", "--recipes=scratch,encodr"],
        ["tools/study.py", "--flagfile=flags/none.flags"],
        ["tools/train.py", "--corruption=mask"],
        ["tools/transplant.py", "--donor=a.keras"],
        ["tools/benchmark.py", "speed"],
    ]
    errors = [parsed(words) for words in wrong]
    assert all(errors), errors


# ---------------------------------------------------------------------------- running

# Imports TensorFlow once; each group runs in a process split off, in which commands of tools/
# and successive blocks of Python are processes split off again. The rest is for bash.
RUNNER = """
import importlib, itertools, json, os, subprocess, sys, traceback
import keras, tensorflow

def split_off(work):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(1)

def tool(words):
    name = words[1].removeprefix("tools/").removesuffix(".py")
    sys.argv = words[1:]
    importlib.import_module(f"tfreuse.cli.{name}").run()

def python(codes):
    namespace = {"__name__": "__main__"}
    for code in codes:
        exec(compile(code, "block", "exec"), namespace)

def group(folder, steps):
    os.chdir(folder)
    log = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for kind, some in itertools.groupby(steps, lambda step: step[0]):
        some = [code_or_words for _, code_or_words in some]
        if kind == "python":
            split_off(lambda: python(some))
        for words in some if kind == "sh" else ():
            if words[0] == "python" and words[1].startswith("tools/"):
                split_off(lambda: tool(words))
            else:
                subprocess.run(words, check=True)

for line in sys.stdin:
    folder, steps = json.loads(line)
    try:
        split_off(lambda: group(folder, steps))
        print("ok", flush=True)
    except SystemExit:
        print("failed", flush=True)
"""


def groups() -> list[tuple[str, str]]:
    """Returns (page, name) of each group of blocks that run."""
    return list(dict.fromkeys((b.page, b.group) for b in blocks() if b.mark == "run"))


def steps(page: str, group: str) -> list[tuple[str, str | list[str]]]:
    """Returns a group's blocks of Python and commands, in order, with flags that make them quick."""
    parts = []
    for block in blocks():
        if (block.page, block.group, block.mark) != (page, group, "run"):
            continue
        if block.language == "python":
            parts.append(("python", block.text))
            continue
        for words in block.commands():
            tool = pathlib.Path(words[1]).stem if words[0] == "python" else ""
            parts.append(("sh", words + SMALLER.get(tool, "").split()))
    return parts


@pytest.fixture(scope="module")
def runner():
    """A process that runs groups of blocks, TensorFlow already imported."""
    programs = pathlib.Path(sys.executable).parent
    search = f"{programs}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUNNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": search, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    yield process
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of the files that pages take for granted: three models and a study."""
    import keras

    from tfreuse import models

    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("a", "b", "mine")):
        keras.utils.set_random_seed(seed)
        models.unet(num_classes=3, width=4, depth=1).save(folder / f"{name}.keras")
    (folder / "runs").mkdir()
    records = planted.study() + planted.stages()
    planted.write(folder / "runs" / "quickstart", records)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page, group", groups())
def test_blocks_of_a_group_run(page, group, inputs, scenes, runner, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(inputs, folder)
    (folder / "DATA").symlink_to(scenes)
    runner.stdin.write(json.dumps([str(folder), steps(page, group)]) + "\n")
    runner.stdin.flush()
    ended = runner.stdout.readline()
    output = (folder / "output.txt").read_text()
    assert ended == "ok\n", output[-5000:]
    if group == "examples":
        check_transplants(folder, output)


def check_transplants(folder: pathlib.Path, output: str) -> None:
    """ResNet50 went into PSPNet's encoder, statistics into an auto-encoder, undo back."""
    assert "318 variables" in output
    assert output.count("is its recipient again") == 1
    donor, out = values(folder / "resnet50.keras"), values(folder / "encoder.keras")
    assert len(donor) == 318
    for name, value in donor.items():
        np.testing.assert_array_equal(out[name], value)
    donor, recipient, out = (
        values(folder / f"{name}.keras")
        for name in ("segmentation", "autoencoder", "statistics")
    )
    for name in out:
        stats = name.split("/")[0].endswith("_bn") and name[-1] in "23"
        expected = donor if stats else recipient
        np.testing.assert_array_equal(out[name], expected[name])
        assert not stats or (donor[name] != recipient[name]).any()


def values(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns a model file's arrays by variable path."""
    with checkpoints.open(path) as model:
        return {variable.path: model.read(variable) for variable in model.variables}


# ------------------------------------------------------------------- pages and picture


def anchor(heading: str) -> str:
    """Returns the name that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links:
        name, _, fragment = link.partition("#")
        if name.startswith("https:"):
            continue
        target = page.parent / name if name else page
        assert target.exists(), link
        headings = (
            re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            if fragment
            else []
        )
        assert not fragment or fragment in map(anchor, headings), link


def test_every_page_is_linked_from_readme_which_is_short():
    text = PAGES[0].read_text()
    assert len(text.splitlines()) <= 150
    for page in PAGES[1:]:
        assert f"](docs/{page.name})" in text, page.name


def test_the_picture_of_readme_is_drawn_from_a_study(tmp_path):
    planted.write(tmp_path / "study", planted_study.records("unet"))
    command = [sys.executable, ROOT / "docs" / "reuse.py", "study", "reuse.svg"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "reuse.svg").read_text().count("<g id=") > 20
