"""The CuPy look-alike: it promises no more than CuPy has, and refuses what CuPy refuses."""

from __future__ import annotations

import ast
import copy
import importlib.util
import inspect
import json
import os
import runpy
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_arrays
import fake_cuda
import fake_cupy
import numpy as np
import pytest
from fake_cuda import counts, machine

pytestmark = pytest.mark.device

RECORDED = Path(__file__).parent / "recorded"
HAS_CUPY = importlib.util.find_spec("cupy") is not None


@pytest.fixture
def cp() -> Iterator[Any]:
    with fake_cupy.installed() as cupy:
        yield cupy


def names(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_it_has_only_names_that_cupy_has(cp: Any) -> None:
    real = fake_arrays.REAL
    for place, thing in {
        "ndarray": fake_arrays.ndarray,
        "add": fake_arrays.ufunc,
        "RawModule": cp.RawModule,
        "RawKernel": cp.RawKernel,
        "cuda": cp.cuda,
        "cuda.Device": fake_cuda.Device(),
        "cuda.Event": cp.cuda.Event,
        "cuda.MemoryHook": cp.cuda.MemoryHook,
        "cuda.MemoryPool": cp.get_default_memory_pool(),
        "cuda.Stream": cp.cuda.Stream.null,
        "cuda.compiler": cp.cuda.compiler,
        "cuda.driver": cp.cuda.driver,
        "cuda.memory": cp.cuda.memory,
        "cuda.runtime": cp.cuda.runtime,
    }.items():
        extra = names(thing) - set(real[place]) - ({"ptr"} if place == "cuda.Stream" else set())
        assert not extra, f"cupy.{place} has no {extra}"
    assert set(fake_cupy.OWN) <= set(real[""])
    assert {f"cudaDevAttr{name}" for name in fake_cuda.Device().attributes} <= set(real["cuda.runtime"])
    for name in real[""]:
        hasattr(cp, name)  # made on first use: none may raise anything but AttributeError
    for name in ("add_newdoc", "float128", "matrix", "nosuch", "testing"):  # NumPy has the first three
        with pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
            getattr(cp, name)
    for name in ("newbyteorder", "itemset", "setflags", "ctypes"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(cp.ones(3), name)


def test_the_recorded_names_are_those_of_the_package() -> None:
    """Where the package is installed, a GPU or not; elsewhere the record itself is looked at."""
    recorded = json.loads((RECORDED / "cupy_names.json").read_text(encoding="utf-8"))
    script = runpy.run_path(str(RECORDED / "record_cupy_names.py"))
    assert set(recorded) == {"version", *script["PLACES"]}
    assert {"RawModule", "ascontiguousarray", "cuda", "get_default_memory_pool"} <= set(recorded[""])
    if HAS_CUPY:
        found = script["record"]()
        if found["version"] == recorded["version"]:
            assert found == recorded
        for place in script["PLACES"]:  # another version may have more names, ours are still among them
            used = names(fake_arrays.ndarray) if place == "ndarray" else set(fake_cupy.OWN) if place == "" else set()
            assert used <= set(found[place])


def run_without_a_gpu(code: str) -> tuple[str, str]:
    """What a program prints and complains of, in a process that sees no GPU and takes warnings for errors."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    command = [sys.executable, "-W", "error", "-c", code]
    root = RECORDED.parent.parent
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


needs_cupy = pytest.mark.skipif(
    not HAS_CUPY, reason="cupy is not installed (pip install cupy-cuda13x; it needs no GPU)"
)


@needs_cupy
def test_the_real_package_without_a_gpu_gives_its_reason_and_no_warning() -> None:
    code = "import engine, sys; print(engine.available_backends()['cupy']); assert 'cupy' in sys.modules"
    reason = "no CUDA driver, and so no GPU, was found: install NVIDIA's, or stay on the numpy backend"
    assert run_without_a_gpu(code) == (f"{reason}\n", "")


def calls_of_the_library() -> list[tuple[str, str, ast.Call]]:
    """(where, function, call) of every ``xp.function(...)`` in the engine and in the kernels for array libraries."""
    root = RECORDED.parent.parent
    files = [path for path in sorted(root.glob("engine/**/*.py")) if "torch" not in path.name]
    files += sorted(path for path in root.glob("kernels/**/*.py") if "cpu" not in path.parts)
    found = []
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                name = (
                    owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
                )
                if name in ("xp", "_xp"):
                    found.append((f"{path.relative_to(root)}:{node.lineno}", node.func.attr, node))
    return found


@needs_cupy
def test_every_call_of_the_library_fits_the_real_packages_functions() -> None:
    """Names, numbers of arguments and keywords; an elementwise function tells nothing of its own but its inputs."""
    cupy = importlib.import_module("cupy")
    calls = calls_of_the_library()
    assert {"matmul", "where", "ascontiguousarray", "square", "RawModule"} <= {name for _, name, _ in calls}
    for where, name, call in calls:
        function = getattr(cupy, name, None)
        assert function is not None, f"{where}: cupy has no {name}"
        given = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        if isinstance(function, cupy.ufunc):
            assert len(call.args) == function.nin, where
            assert set(given) <= {"out", "dtype"}, where
        elif isinstance(function, types.FunctionType):
            inspect.signature(function).bind(*call.args, **given)


@needs_cupy
def test_the_ledger_hooks_into_the_real_package() -> None:
    """CuPy's hook is entered, nested, told of an allocation and left again; no GPU has to make one."""
    code = """
import cupy, engine
from engine import ledgers
ledgers.available_backends = lambda: {"cupy": None}
with engine.ledger() as outer, engine.ledger() as inner:
    hook = ledgers._device_memory(inner)
    assert isinstance(hook, cupy.cuda.MemoryHook)
    hook.alloc_postprocess(device_id=0, mem_size=1 << 20, mem_ptr=512)
    hook.alloc_postprocess(device_id=0, mem_size=1 << 20, mem_ptr=0)  # failed
    hook.alloc_postprocess(device_id=0, mem_size=1 << 19, mem_ptr=512)  # small
print(outer.large_allocations, inner.large_allocations, inner.bytes_allocated)
"""
    assert run_without_a_gpu(code) == ("0 1 1048576\n", "")


def test_host_arrays_and_lists_are_refused(cp: Any) -> None:
    a, host = cp.ones((2, 3)), np.ones((2, 3))
    counts.reset()
    for mixed in (
        lambda: a + host,
        lambda: host + a,
        lambda: a @ host.T,
        lambda: cp.tanh(host),
        lambda: np.tanh(host, out=a),
        lambda: cp.concatenate([a, host]),
        lambda: cp.where(host > 0, a, a),
        lambda: cp.copyto(a, host),
        lambda: cp.power([1.0], 2),
        lambda: a + [1.0, 2.0, 3.0],
    ):
        with pytest.raises(TypeError, match="Unsupported type"):
            mixed()
    with pytest.raises(
        TypeError, match=r"Implicit conversion to a NumPy array is not allowed\. Please use `\.get\(\)`"
    ):
        np.asarray(a)
    with pytest.raises(ValueError, match=r"non-scalar numpy\.ndarray cannot be used for fill"):
        a[...] = host
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cp.asarray(["words"])
    assert (counts.uploads, counts.downloads, counts.waits) == (0, 0, 0)
    assert isinstance(np.tanh(a), fake_arrays.ndarray)  # NumPy's functions hand over
    assert isinstance(np.concatenate([a, a]), fake_arrays.ndarray)
    assert (np.float64(2) * cp.ones(2, np.float32)).dtype == np.float64  # rule 22


def test_what_is_counted(cp: Any) -> None:
    counts.reset()
    a = cp.asarray(np.ones((4, 5), np.float32))
    assert (counts.uploads, counts.upload_bytes, counts.launches) == (1, 80, 0)
    cp.asarray(a)
    a[1:, ::2].T.reshape(9).swapaxes(0, 0)
    assert counts.launches == 1  # a reshape that cannot be a view
    total = a.sum()
    assert (counts.launches, counts.waits) == (2, 0)
    assert (total.ndim, type(total)) == (0, fake_arrays.ndarray)
    assert float(total) == int(total) == total.item() == 20
    assert bool(total > 19)
    assert counts.waits == 4
    assert total.get() == 20
    assert cp.asnumpy(a).shape == (4, 5)
    assert (counts.downloads, counts.download_bytes, counts.waits) == (2, 84, 6)
    cp.nonzero(a)
    a[a > 2]
    assert counts.waits == 8  # how many there are decides a shape
    before = counts.uploads
    a[[0, 2]]
    a[np.array([0, 2])] = 1.0
    assert counts.uploads == before + 2  # an index on the host is taken, and costs an upload
    cp.array(3.0)
    assert counts.uploads == before + 2  # a number is a fill


def test_indices_wrap_and_the_order_of_writes_is_not_promised(cp: Any) -> None:
    a = cp.arange(5)
    out_of_range = cp.asarray(np.array([0, 5, 7, -6, -1]))
    assert a[out_of_range].tolist() == [0, 0, 2, 4, 4]
    assert a.take(out_of_range).tolist() == [0, 0, 2, 4, 4]
    b = cp.zeros((2, 3))
    b[cp.asarray(np.array([3])), cp.asarray(np.array([-4]))] = 7.0
    assert b.tolist() == [[0, 0, 0], [0, 0, 7.0]]
    with pytest.raises(IndexError):
        a[5]
    winners = set()
    for _ in range(60):
        a[cp.asarray(np.zeros(3, int))] = cp.asarray(np.array([10, 11, 12]))
        winners.add(int(a[0]))
    assert winners == {10, 11, 12}
    sums = set()
    for _ in range(40):
        total = cp.zeros(1, np.float32)
        cp.add.at(total, cp.asarray(np.zeros(4, int)), cp.asarray(np.array([1e8, 1.0, -1e8, 1.0], np.float32)))
        sums.add(float(total[0]))
    assert len(sums) > 1
    assert np.isnan(cp.empty(3).get()).all()  # nothing has been written there


def test_segment_sums_by_reduceat_lose_the_small_ones_as_in_cupy(cp: Any) -> None:
    values = cp.asarray(np.array([1e8, 1.0, 1.0], np.float32))
    found = cp.add.reduceat(values, cp.asarray(np.array([0, 1])))
    assert found.tolist() == [1e8, 0.0]  # NumPy's gives 2.0


def test_an_upload_keeps_the_order_of_the_axes_in_memory(cp: Any) -> None:
    host = np.arange(6.0).reshape(2, 3)
    for made in (cp.array(host.T), cp.asarray(host.T), cp.array(cp.asarray(host).T)):
        assert made.strides == host.T.strides
        assert made.tolist() == host.T.tolist()
    assert cp.ascontiguousarray(host.T).flags.c_contiguous


def test_copies_and_views(cp: Any) -> None:
    a = cp.zeros((2, 3))
    a[0][...] = 1.0
    a.T[2] += 4.0
    assert a.tolist() == [[1, 1, 5], [0, 0, 4]]
    b = copy.deepcopy(a)
    b[...] = 0
    assert a.sum() == 11
    a[0, 1:2] = cp.ones(1)
    assert len(list(a)) == len(a) == 2
    with np.errstate(all="raise"):
        assert np.isinf((1.0 / cp.zeros(1)).get()).all()  # a GPU warns of nothing


def test_memory_comes_back_and_runs_out(cp: Any) -> None:
    pool = cp.get_default_memory_pool()
    a = cp.zeros(1000)
    view = a[3:]
    assert pool.used_bytes() == 8192
    del a
    assert pool.used_bytes() == 8192
    del view
    assert (pool.used_bytes(), pool.total_bytes()) == (0, 8192)
    pool.set_limit(size=10_000)
    cp.zeros(1000)  # from the pool
    message = r"Out of memory allocating 16,000 bytes \(allocated so far: 8,192 bytes, limit set to: 10,000 bytes\)\."
    with pytest.raises(cp.cuda.memory.OutOfMemoryError, match=message) as caught:
        cp.zeros(2000)
    assert isinstance(caught.value, MemoryError)
    machine.limit, machine.fail_at = 0, 2
    cp.zeros(3), cp.zeros(3)
    with pytest.raises(MemoryError):
        cp.zeros(3)


def test_kernels_take_device_arrays_and_typed_numbers(cp: Any) -> None:
    code = """
    extern "C" __global__ void scale(float* x, float by, int n) {
      int k = blockIdx.x * blockDim.x + threadIdx.x;
      if (k < n) x[k] *= by;
    }
    EXPORT_KERNEL(scale)
    """
    pytest.importorskip("cuda_sim.hostkernel", reason="the host simulator of CUDA kernels is not there")
    kernel = cp.RawModule(code=code, options=("-DUNUSED=1",)).get_function("scale")
    x = cp.asarray(np.arange(5, dtype=np.float32))
    counts.reset()
    kernel((2,), (4,), (x, np.float32(3), np.int32(5)))
    assert x.tolist() == [0, 3, 6, 9, 12]
    assert counts.kernel_launches == 1
    for wrong in ((x.get(), np.float32(3), np.int32(5)), (x, 3.0, np.int32(5))):
        with pytest.raises(TypeError, match="Unsupported type"):
            kernel((2,), (4,), wrong)
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        kernel((2,), (4,), (x, np.float32(3), np.int32(5)), shared_mem=60_000)
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        kernel((1,), (1025,), (x, np.float32(3), np.int32(5)))
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        kernel.max_dynamic_shared_size_bytes = 1 << 18
    kernel.max_dynamic_shared_size_bytes = 100_000
    kernel((2,), (4,), (x, np.float32(2), np.int32(5)), shared_mem=60_000)
    assert x.tolist() == [0, 6, 12, 18, 24]
    together = cp.RawModule(code=code, enable_cooperative_groups=True).get_function("scale")
    arguments = (x, np.float32(1), np.int32(5))
    together((1, 4, 2), (512,), arguments)  # a block for each of the 8 multiprocessors
    with pytest.raises(ValueError, match=r"grid size \(1 \* 3 \* 3\) exceeds the limit \(8\)"):
        together((1, 3, 3), (512,), arguments)
    with pytest.warns(UserWarning, match="The grid size will be reduced from 9 to 8"):
        together((9,), (512,), arguments)
    machine.compile_error = cp.cuda.compiler.CompileException("line 3: error")
    with pytest.raises(cp.cuda.compiler.CompileException):
        cp.RawModule(code=code).get_function("scale")
