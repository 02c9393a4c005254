"""Tasks on real data, each beside a PyTorch script of the same model: ``python -m benchmarks.tasks``."""
