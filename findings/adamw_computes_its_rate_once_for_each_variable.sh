#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: AdamW asks its schedule for the rate once for each variable that decays, not
# once for each step. A schedule with a condition, such as CosineDecay with a warm-up, thus puts one
# conditional with two functions into the step for each kernel, and tracing them takes longer than tracing
# forward and backward pass. Adam without decay asks once.
#
# Seen, of a network of 40 convolutions (tracing took 3.7 s and 1.7 s of processor time, n = 1, busy machine):
#   AdamW, 40 kernels decay: the schedule was asked 41 times, 41 conditionals in the step
#   Adam: the schedule was asked 1 time, 1 conditional in the step
#
# Exits with status 0 while this holds, with 1 once it changes.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 keras==3.15.1 >/dev/null 2>&1
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES=-1

"$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/times" <<'PYTHON'
import sys
import time

import keras
import tensorflow as tf


class Counted(keras.optimizers.schedules.CosineDecay):
    calls = 0

    def __call__(self, step):
        Counted.calls += 1
        return super().__call__(step)


def plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def describe(name, kind, **options):
    inputs = outputs = keras.Input((8, 8, 4))
    for _ in range(40):
        outputs = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(outputs)
    model = keras.Model(inputs, outputs)
    schedule = Counted(0.0, 100, warmup_target=0.1, warmup_steps=10)
    model.compile(kind(schedule, **options), "mse")
    model.optimizer.build(model.trainable_variables)
    Counted.calls, started = 0, time.process_time()
    step = tf.function(lambda x: model.train_step((x, x)))
    graph = step.get_concrete_function(tf.zeros([2, 8, 8, 4])).graph
    print(f"{name}: {time.process_time() - started:.1f} s", file=sys.stderr)
    conditionals = [op for op in graph.get_operations() if op.type in ("If", "StatelessIf")]
    print(
        f"{name}: the schedule was asked {plural(Counted.calls, 'time')},",
        f"{plural(len(conditionals), 'conditional')} in the step",
    )


describe("AdamW, 40 kernels decay", keras.optimizers.AdamW, weight_decay=0.01)
describe("Adam", keras.optimizers.Adam)
PYTHON
cat "$folder/seen"
grep -E "^[A-Z].* s$" "$folder/times" || true
expected="$(sed -n "s/^#   //p" "$script")"
[ "$(cat "$folder/seen")" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
