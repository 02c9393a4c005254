"""A host simulator for CUDA kernels: `hostkernel` builds and calls them, `host_cuda.h` is what they are built with."""
