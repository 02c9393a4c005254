"""Timing the engine beside other libraries, each in a process of its own, on the same cores, taking turns.

`cases` says what a step computes, `steps` computes it with the engine and with PyTorch, `serve` is the process of one
library, `rounds` lets several of them take turns, `figures` turns their times into ratios, and `machine` says where all
this was.  ``bptt bench`` is made of these; the scripts below ``benchmarks/`` add more libraries.
"""
