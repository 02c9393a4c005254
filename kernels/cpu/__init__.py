"""The compiled kernel set for NumPy arrays: everything that Numba runs.

Read `rows` (one row of one step), then `loops` (the walk over time), then `products` and `tiles` (what makes it fast);
`numba_kernels` is the door.  Nothing here is imported before it is used: importing Numba takes half a second.
"""
