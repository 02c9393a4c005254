"""The compiled kernel set for NumPy arrays: everything that Numba runs.

Read `scalar` and `rows` (gate functions on one row of one step), then `forward_loop` and `backward_loop` (the walk over
time), then `products` and `tiles` (what makes it fast); `loops` puts them together for a cell, `numba_kernels` is the
door.  Nothing here is imported before it is used: importing Numba takes half a second.
"""
