"""What can be said of the CUDA kernels by compilers alone: no spills for real GPUs, no access out of bounds here.

A missing compiler fails these tests: a proof that is skipped is none.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cuda_sim.hostkernel import compiler
from cuda_sim.own_cells import EVERY

from kernels.cuda import modules
from kernels.cuda.launches import not_persistent

pytestmark = pytest.mark.device

#: What CuPy adds to the options of every module; to NVRTC also that nothing runs on the host.
CUPY_OPTIONS = ("-ftz=true",)
MISSING = "neither nvcc nor NVRTC is here to compile the CUDA kernels: pip install nvidia-cuda-nvrtc-cu12"


def nvrtc_path() -> Path | None:
    """The NVRTC library of its wheel (``nvidia-cuda-nvrtc-cu12`` or ``nvidia-cuda-nvrtc``)."""
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else [Path(folder) for folder in found.submodule_search_locations or ()]
    libraries = [path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.1[0-9]")]
    return min(libraries, default=None)


def compile_with_nvcc(source: str, options: tuple[str, ...], arch: str, folder: Path) -> str:
    """The assembler's report on every kernel."""
    file = folder / "kernels.cu"
    file.write_text(source)
    words = [option.replace("--std", "-std") for option in (*options, *CUPY_OPTIONS)]
    command = ["nvcc", "-cubin", f"-arch={arch}", *words, "-Xptxas", "-v", "-Werror", "all-warnings"]
    done = subprocess.run([*command, "-o", os.devnull, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return done.stderr


def compile_with_nvrtc(source: str, options: tuple[str, ...], arch: str, library: Path) -> str:
    """The same through CUDA's run-time compiler, the one that CuPy uses."""
    nvrtc = ctypes.CDLL(str(library))
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None) == 0
    added = (*CUPY_OPTIONS, "--device-as-default-execution-space", f"--gpu-architecture={arch}")
    words = [option.encode() for option in (*options, *added, "--ptxas-options=-v")]
    status = nvrtc.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    text = log.value.decode()
    assert status == 0, text[:4000]
    return text


def builds() -> Iterator[tuple[str, str, str, str]]:
    """(compiler, architecture, cell, module): NVRTC, the one that CuPy uses, for everything, nvcc for its warnings."""
    nvcc = shutil.which("nvcc") is not None
    for name in (
        "rnn_tanh",
        "lstm",
        "gru",
        "gru_before",
        "sim_apart__zoneout_h_c",
        "sim_exponential",
        "sim_three",
        "projected_lstm",
    ):
        for module in modules.MODULES if not_persistent(EVERY[name]) is None else ("stepwise",):
            if nvrtc_path() is not None or not nvcc:
                yield "nvrtc", "sm_90", name, module
            if name == "gru_before" and nvrtc_path() is not None:
                yield "nvrtc", "sm_80", name, module
            if nvcc and (nvrtc_path() is None or name in ("gru_before", "projected_lstm")):
                yield "nvcc", "sm_80", name, module


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("with_", "arch", "name", "module"), list(builds()))
def test_the_kernels_compile_for_real_gpus_without_spilling_a_register(
    with_: str, arch: str, name: str, module: str, dtype: str, tmp_path: Path
) -> None:
    cell = EVERY[name]
    source, options = modules.source(module, cell, dtype), modules.options(dtype)
    if with_ == "nvcc":
        report = compile_with_nvcc(source, options, arch, tmp_path)
    else:
        library = nvrtc_path()
        assert library is not None, MISSING
        report = compile_with_nvrtc(source, options, arch, library)
    kernels = re.findall(r"Compiling entry function '(\w+)' for '(\w+)'", report)
    assert sorted(kernels) == sorted((name, arch) for name in modules.names(module, cell, dtype))
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) >= len(kernels)
    assert set(spills) == {("0", "0", "0")}
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", report)]
    assert len(registers) == len(kernels)
    assert max(registers) <= 128  # what 512 threads can have each, as the planner counts on


# -- the address sanitizer -------------------------------------------------------------------------------------------

SANITIZED = """
import sys
import numpy as np
from cuda_sim import hostkernel, layer_case, little_cupy

BUG = sys.argv[1] == "bug"
plain = hostkernel.build
def build(code, options):
    code = code.replace("if (n >= (size_t)B * width) return;", "") if BUG else code
    return plain(layer_case.one_kernel(code), options, sanitize=True)


little_cupy.build = build
limits = dict(MultiProcessorCount=64, MaxSharedMemoryPerBlockOptin=1 << 17, MaxThreadsPerBlock=128)
shapes = ("rnn_tanh", "lstm", "gru_before")  # of a product
others = ("gru", "sim_exponential", "sim_three", "sim_apart__zoneout_h_c", "projected_lstm__zoneout_h_c__mask")
for cell in ("lstm",) if BUG else (*shapes, *others):
    case = layer_case.make_case(cell, T=3, B=7, H=21, lengths=[3, 1, 0, 2, 3, 3, 2])
    ways = [(layer_case.STEPWISE, layer_case.STEPWISE)]
    if cell in shapes:
        ways.append(layer_case.tight(case, slices=3, groups=2))
    for way in ways:
        error = layer_case.distance(case, layer_case.by_plan(little_cupy.LittleCupy(**limits), *way))
        assert error <= 1e-12, (cell, error)
print("clean")
"""


def run_sanitized(word: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, as the sanitizer must be there before anything else is."""
    library = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    preload = Path(library.stdout.strip()).resolve()
    assert preload.is_absolute(), "g++ has no address sanitizer (apt install libasan8)"
    assert preload.exists()
    root = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "LD_PRELOAD": str(preload),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}",
    }
    command = [sys.executable, "-c", SANITIZED, word]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_the_address_sanitizer_finds_nothing() -> None:
    done = run_sanitized("none")
    assert done.stdout == "clean\n", done.stderr[-3000:]
    assert done.returncode == 0


def test_the_address_sanitizer_would_find_something() -> None:
    done = run_sanitized("bug")
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
