"""What the pages on gradient flow measure: ``python -m benchmarks.flow`` prints times and memory, `pictures` draws."""
