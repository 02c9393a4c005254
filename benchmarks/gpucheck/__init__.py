"""Proof with a GPU, in one command that always ends: ``python -m benchmarks.gpucheck --out DIR``.

Read `sections` (what is done, in which order, with how much of the time), `correctness` (our numbers beside float64
NumPy), `peers` (PyTorch's CUDA layers), `timings`, `report`, `clock` (how it always ends).
"""
