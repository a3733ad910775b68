"""The table of tools x mistakes that a tool must refuse in one line without TensorFlow."""

import json
import pathlib
import sys

import commands
import handmade

MODEL_TOOLS = {  # tool -> a command line with {model}
    "train": "--model={model} --out_dir=out",
    "evaluate": "--model={model} --out_dir=out",
    "export": "--model={model} --out_dir=out",
    "advise": "--donor={model} --out_dir=out",
    "study": "--model={model} --out_dir=out",
}
DATA_TOOLS = {
    "train": "--out_dir=out",
    "evaluate": "--model=good.keras --task=segmentation --out_dir=out",
    "advise": "--donor=good.keras --out_dir=out",
    "study": "--out_dir=out",
}
MODELS = {  # a wrong model file -> words of its line
    "cut.keras": "does not end with a zip directory. It is truncated",
    "edited.keras": "model.weights.h5 does not fit its CRC",
    "text.keras": "does not begin as a zip file does",
    "folder.keras": "is a folder; expected a model file",
    "none.keras": "does not exist; the folder has",
    "good.h5": "expected a file NAME.keras",
}
FOLDERS = {"no_such": "no_such", "empty": "empty", "no_masks": "masks"}
OTHER = [  # tool, its flags, words of its line
    (
        "train",
        "--image_size=20,20 --depth=3 --out_dir=out",
        "Use --image_size=16,16 or",
    ),
    (
        "study",
        "--image_size=20,20 --depth=3 --out_dir=out",
        "Use --image_size=16,16 or",
    ),
    ("train", "--architecture=pspnet --depth=3 --out_dir=out", "pspnet has no --depth"),
    ("train", "--model=nets.make --out_dir=out", "takes FILE.keras or package.module:"),
    ("train", "--dataset=foldr --out_dir=out", "Did you mean folder?"),
    ("train", "--out_dir=good.keras", "is a file; expected a directory"),
    ("train", "", "--out_dir is not given"),
    ("train", "--out_dir=/proc/none", "(/proc/none)"),
    ("evaluate", "--out_dir=out", "--model is not given"),
    ("export", "--out_dir=out", "--model is not given"),
    ("export", "--model=good.keras --out_dir=out --formats=tflite", "--formats takes"),
    ("predict", "--model=empty --images=*.png --out_dir=out", "holds no SavedModel"),
    (
        "predict",
        "--model=good.keras --images=a --out_dir=out",
        "expected the folder of",
    ),
    ("recalibrate", "--images=a --out=b.keras", "--model is not given"),
    ("report", "--study_dir=empty", "holds no study"),
    ("report", "--study_dir=damaged", "study.json is no JSON"),
    ("transplant", "info --model=cut.keras", MODELS["cut.keras"]),
    ("transplant", "info --model=folder.keras", "holds no file of weights"),
    ("transplant", "info --model=none.keras", "cannot be read: No such file"),
    (
        "transplant",
        "apply --donor=edited.keras --recipient=good.keras --out=o.keras",
        MODELS["edited.keras"],
    ),
]


def early():
    """All commands that must fail without TensorFlow: (tool, flags, words)."""
    for tool, flags in MODEL_TOOLS.items():
        for name, words in MODELS.items():
            if name == "good.h5" and tool in ("train", "study"):
                words = "--model takes FILE.keras or package.module:function"
            yield tool, flags.format(model=name), words
    for tool, flags in DATA_TOOLS.items():
        for name, words in FOLDERS.items():
            yield tool, f"{flags} --dataset=folder --data_dir={name}", words
    yield from OTHER


def write_files():
    """Writes good and wrong files to the current folder."""
    path = pathlib.Path("good.keras")
    handmade.write_keras(path, handmade.model(1))
    data = path.read_bytes()
    pathlib.Path("good.h5").write_bytes(data)
    pathlib.Path("cut.keras").write_bytes(data[:-100])
    middle = data.index(b"\x89HDF") + 3000
    changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    pathlib.Path("edited.keras").write_bytes(changed)
    pathlib.Path("text.keras").write_text("no model")
    for name in ("folder.keras", "empty", "damaged"):
        pathlib.Path(name).mkdir()
    pathlib.Path("damaged/study.json").write_text('{"specs": ')
    for split in ("train", "val", "test"):
        folder = pathlib.Path("no_masks", split, "images")
        folder.mkdir(parents=True)
        (folder / "a.png").touch()


def answers():
    """Runs all commands in one process; prints the answers as JSON."""
    replies = []
    for tool, words, _ in early():
        done = commands.run(tool, *words.split())
        loaded = [name for name in ("tensorflow", "keras") if name in sys.modules]
        replies.append([done.returncode, done.stderr, loaded])
    json.dump(replies, sys.stdout)
