"""The kernel set for GPUs: our own CUDA kernels through CuPy, cuBLAS for the products.

Read `translate` (the equations as CUDA text), then ``src/product.cuh`` and ``src/forward.cu``; `launches` chooses the
way, `cuda_kernels` is the door.
"""
