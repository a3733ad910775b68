"""Benchmarks of tfreuse beside other tools and the machine's limits; not part of the wheel.

    runs = rounds.run(rounds.Settings(runs=5), work_dir)
    print(table.text(table.rows(runs)))

Every run is a fresh process. Its time counts only if the digests of its output are correct. Rounds
interleave all contestants, so that a slow minute of the machine affects all of them. Nothing is
imported here: contestants import their packages themselves, which is timed.
"""
