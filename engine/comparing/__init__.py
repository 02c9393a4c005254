"""The experiment of `bptt compare`: one layer, the same numbers, several array libraries and kernel sets.

Read `experiment` (what is computed), `differences` (how far two answers are apart), `measuring` (how long, how many
bytes, how much memory), `picture`.
"""
