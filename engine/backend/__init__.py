"""First floor: a backend is an array library, a kernel set, a device and its random numbers, held in one object.

Array libraries are imported here and in the kernel set that needs them, nowhere else.
"""

from engine.backend.backend import FLOATS, KERNELS, Backend, check_dtype
from engine.backend.choosing import add_backend, available_backends, backend_of, get_backend
from engine.backend.foreign import asarray

__all__ = [
    "FLOATS", "KERNELS", "Backend", "add_backend", "asarray", "available_backends", "backend_of", "check_dtype",
    "get_backend",
]  # fmt: skip
