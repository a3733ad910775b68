"""How fast parameters move, beside the other ways to move them and the machine's limits.

    runs = rounds.run(rounds.Settings(runs=5), work_dir)
    print(table.text(table.rows(runs)))

Every run is a fresh process. Its result is compared with what it should be, by digest, before
its time counts. Rounds take all contestants in turn, so that a slow minute of the machine
falls on all of them. Nothing is imported here: contestants import what they need, timed.
"""
