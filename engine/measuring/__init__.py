"""Timing and comparing side by side, each library in a process of its own, on the same cores, taking turns.

Timing (``bptt bench``): `timed_step` says what a step computes, `steps` computes it with the engine and with PyTorch,
`peers` with JAX and others, `serve` is the process of one library, `rounds` lets several of them take turns, `figures`
turns their times into ratios, and `machine` says where all this was.

Comparing (``bptt compare``): `experiment` says what is computed, the same numbers on several array libraries and kernel
sets, `side_by_side` how far two answers are apart, `comparing` how long each took and how much memory, `picture` draws.
"""
