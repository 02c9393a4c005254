"""The compiled kernel set for NumPy arrays: everything that Numba runs.

Read `scalar` and `rows` (gate functions on the rows of one step), `program` (what else a cell does at a step), then
`forward_loop` and `backward_loop` (the walk over time, the same for every cell), then `products` and `tiles` (what
makes it fast); `loops` has all that runs a cell, `numba_kernels` is the door.  Nothing here is imported before it is
used: importing Numba takes half a second.
"""
