#!/usr/bin/env bash
# TensorFlow 2.21.0: each iterator of a tf.data pipeline with a parallel map has a thread that tunes it, which sleeps
# between two looks, each time twice as long. Freeing the iterator waits for that thread. It should be woken, but some
# iterators are freed only when it has slept: 10 s for an iterator of 10 s, 40 s for one of 42 s. In Python the
# garbage collector frees the iterators that Keras's fit() has left behind, so that a process that trains several
# networks stands still, at no load and without a message, in whatever it happens to do then. With options.autotune.enabled = False
# there is no such thread; nothing is lost where the numbers of threads and of prefetched batches are given.
#
# Seen (of 16 iterators the first sum was 131 and 251 s, the second 0.03 and 0.04 s, on a busy machine):
#   with tuning, 6 iterators of 10 s take more than 3 s to free
#   without, 6 iterators of 10 s take less than 1 s to free
#
# Exits with status 0 while this holds, with 1 once it changes.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 >/dev/null 2>&1
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1

seen="$("$folder/venv/bin/python" - 2>"$folder/seconds" <<'PYTHON'
import sys
import time

import tensorflow as tf


def iterator(tuned):
    numbers = tf.data.Dataset.range(10**9).batch(8)
    options = tf.data.Options()
    options.autotune.enabled = tuned
    numbers = numbers.map(lambda n: n + 1, num_parallel_calls=2).prefetch(2)
    iterator = iter(numbers.with_options(options))
    next(iterator)
    return iterator


def seconds_to_free(tuned):
    iterators = [iterator(tuned) for _ in range(6)]
    time.sleep(10)
    started = time.monotonic()
    while iterators:
        iterators.pop()
    seconds = time.monotonic() - started
    print(f"tuned: {tuned}, {seconds:.2f} s", file=sys.stderr)
    return seconds


tuned, plain = seconds_to_free(True), seconds_to_free(False)
print(
    "with tuning, 6 iterators of 10 s take",
    f"{'more than 3' if tuned > 3 else round(tuned, 2)} s to free",
)
print(
    "without, 6 iterators of 10 s take",
    f"{'less than 1' if plain < 1 else round(plain, 2)} s to free",
)
PYTHON
)"
grep "^tuned" "$folder/seconds"
echo "$seen"
expected="$(sed -n "s/^#   //p" "$script")"
[ "$seen" = "$expected" ] || { echo "changed; expected:"; echo "$expected"; exit 1; }
