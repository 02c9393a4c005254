"""The proof of the proof: planted bugs in the CUDA kernels, every deleted barrier among them, must be caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_sim.hostkernel import HostKernel, barrier_calls, build
from cuda_sim.layer_case import STEPWISE, by_plan, distance, make_case, one_kernel, tight
from cuda_sim.little_cupy import LittleCupy
from cuda_sim.own_cells import EVERY

from kernels.cells import Cell
from kernels.cuda import modules

pytestmark = pytest.mark.device

SEEDS = (0, 1, 2)
MUTATED_CELLS = ("gru_before", "lstm")  # two products a step, and one
MODULES = tuple(modules.MODULES)
Edit = Callable[[str], str]


def source(module: str, cell: str) -> str:
    """A module as it is, with one kernel of its kind."""
    return one_kernel(modules.source(module, EVERY[cell], "float64"))


OTHERS = tuple(name for name in EVERY if name not in MUTATED_CELLS)  # for what these two do not have
SOURCES = {(module, cell): source(module, cell) for module in MODULES for cell in MUTATED_CELLS}
SOURCES |= {("stepwise", cell): source("stepwise", cell) for cell in OTHERS}


def verdicts(module: str, edit: Edit, monkeypatch: pytest.MonkeyPatch, cell: str) -> list[str]:
    """What comparison and simulator say of the edited module of the cell, for each seed: "" where it passes."""

    def edited(name: str, of: Cell, dtype: str) -> str:
        text = SOURCES[name, of.name]
        return edit(text) if name == module else text

    case = make_case(cell, T=3, B=7, H=21, lengths=[3, 1, 0, 2, 3, 3, 2])
    ways = (STEPWISE, STEPWISE) if module == "stepwise" else tight(case, slices=3, groups=2)
    limits: Any = {"MultiProcessorCount": 64, "MaxSharedMemoryPerBlockOptin": 1 << 17, "MaxThreadsPerBlock": 128}
    found = []
    with monkeypatch.context() as patch:
        for seed in SEEDS:
            kernels = by_plan(LittleCupy(seed, **limits), *ways)
            patch.setattr(modules, "source", edited)
            try:
                error = distance(case, kernels)
            except RuntimeError as caught:
                found.append(str(caught))
            else:
                found.append("" if error <= 1e-12 else f"off by {error}")
            patch.undo()
            assert kernels.fallback_reason is None
    return found


def barriers() -> list[Any]:
    """(module, number of the call in its source) of every barrier and fence there is."""
    found = []
    for module in MODULES:
        text = SOURCES[module, MUTATED_CELLS[0]]
        for number, (start, end) in enumerate(barrier_calls(text)):
            found.append(pytest.param(module, number, id=f"{module}-{number}-{text[start:end].partition('(')[0]}"))
    return found


def test_the_kernels_as_they_are_pass_and_have_the_barriers_that_are_deleted_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, cell in SOURCES:
        if cell in OTHERS:
            continue
        assert not any(verdicts(module, lambda text: text, monkeypatch, cell)), (module, cell)
    found = [(parameters.values[0], parameters.id.rpartition("-")[2]) for parameters in barriers()]
    for module, own in (("forward", 2), ("backward", 2)):
        calls = [call for where, call in found if where == module]
        assert calls.count("group_barrier") == own
        assert calls.count("__syncthreads") == 1 + 4  # the group barrier's own, the product's
        assert calls.count("__threadfence") == 2


@pytest.mark.parametrize(("module", "number"), barriers())
def test_a_deleted_barrier_or_fence_is_caught_at_every_seed(
    module: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(text: str) -> str:
        start, end = barrier_calls(text)[number]
        return f"{text[:start]};{text[end:]}"

    caught = [bool(words) for words in verdicts(module, without, monkeypatch, MUTATED_CELLS[0])]
    if not all(caught):
        caught = [
            a or bool(b) for a, b in zip(caught, verdicts(module, without, monkeypatch, MUTATED_CELLS[1]), strict=True)
        ]
    assert all(caught), "passes without it: it is not needed, or the simulator is blind"


#: (module, what stands there, what is put in its place)
PLANTED = {
    "wrong gate stride": (
        "forward",
        "weight_hh[((size_t)q * H + j) * H + k]",
        "weight_hh[((size_t)j * 3 + q) * H + k]",
    ),
    "h[t+1] for h[t]": ("forward", "k.h_all + (size_t)(t) * k.B", "k.h_all + (size_t)(t + 1) * k.B"),
    "the second product of the first source": ("forward", "Cell::operand_1(k, t)", "Cell::operand_0(k, t)"),
    "early return before a barrier": (
        "forward",
        "  load_rows(weights,",
        "  if (first_row + (int)threadIdx.x >= end_row) return;\n  load_rows(weights,",
    ),
    "barrier for some threads": (
        "backward",
        "    group_barrier(ticket, gridDim.z);  // da of the last stage",
        "    if (threadIdx.x) group_barrier(ticket, gridDim.z);  // da of the last stage",
    ),
    "barrier waits for a block too few": ("forward", "(mine / members + 1) * members", "mine / members * members + 1"),
    "barrier waits for a block too many": (
        "backward",
        "(mine / members + 1) * members",
        "(mine / members + 1) * members + 1",
    ),
    "one counter for two groups": ("forward", "tickets + 32 * blockIdx.y", "tickets"),
    "shared tile through L1": (
        "backward",
        "__ldcg(from + k + i * across)",
        "from[k + i * across]",
    ),
    "reads past the source": ("forward", "row < passing && k + i * across < depth", "k + i * across < depth"),
    "weights past the columns": ("backward", "j < H && m < to - from ?", "m < to - from ?"),
    "pads are multiplied, not selected": ("stepwise", "k.h_all[at.next] = at.valid ?", "k.h_all[at.next] = true ?"),
    "dc of a finished row": ("stepwise", "k.dc_next[at.unit] = d_c;", "k.dc_next[at.unit] = 0;"),
    "input side for hidden side": (
        "backward",
        "k.da_hidden + ((size_t)t * k.B + b0)",
        "k.da_hidden + ((size_t)t * k.B)",
    ),
    "a factor of another step": ("stepwise", "(steps ? (size_t)t *", "(steps ? (size_t)0 *"),
    "a factor of another row": ("stepwise", "(rows ? b : 0)", "(rows ? 0 : 0)"),
    "what a stage passes on is lost": ("stepwise", "k.df_passed[at.unit] = s1.df;", "k.df_passed[at.unit] = 0;"),
    "a projected state past its end": ("stepwise", "at.valid ? product[0] : k.h_all", "true ? product[0] : k.h_all"),
    "a gate's product is lost": ("forward", "product[q] = total<COLS>", "product[q] = q == 0 ? 0 : total<COLS>"),
    "a part is forgotten": ("backward", "part < box.parts; ++part", "part < box.parts - 1; ++part"),
    "sums at the wrong stride": (
        "forward",
        "(r * COLS + q) * blockDim.x + threadIdx.x",
        "(r + q * COLS) * blockDim.x + threadIdx.x",
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, good, bad = PLANTED[bug]
    cells = [cell for cell in (*MUTATED_CELLS, *OTHERS) if good in SOURCES.get((module, cell), "")]
    if "factor" in bug:
        cells = ["sim_apart__zoneout_h_c"]
    assert cells
    found: list[str] = []
    for cell in cells:
        if not any(found):
            found = verdicts(module, lambda text: text.replace(good, bad), monkeypatch, cell)
    assert any(found)
    if "return" in bug:
        assert any("divergent barrier" in words for words in found)
    if "too many" in bug:
        assert any("deadlock" in words for words in found)
    if "L1" in bug:
        assert any("__ldcg" in words for words in found)
    if "past the columns" in bug:
        assert any("outside every array" in words for words in found)


# -- the simulator on kernels of a few lines ---------------------------------------------------------------------------

SNIPPET = """
extern "C" __global__ void probe(float* out, int n) {
  DYNAMIC_SHARED(float, memory);
  BODY
}
EXPORT_KERNEL(probe)
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("memory[threadIdx.x] = 1; __syncthreads(); out[threadIdx.x] = memory[(threadIdx.x + 1) % n];", None),
        ("memory[threadIdx.x] = 1; out[threadIdx.x] = memory[(threadIdx.x + 1) % n];", "race|nobody wrote"),
        ("out[threadIdx.x] = memory[threadIdx.x];", "nobody wrote"),
        ("out[0] = threadIdx.x;", "two writes"),
        ("out[threadIdx.x + 1] = 0;", "write outside every array"),
        ("memory[threadIdx.x - 1] = 0;", "write outside every array"),
        ("if (threadIdx.x) __syncthreads();", "divergent barrier"),
    ],
)
def test_the_simulator_names_what_is_wrong(body: str, words: str | None) -> None:
    kernel = HostKernel(build(SNIPPET.replace("BODY", body)), "probe", seed=1)
    out = np.zeros(4, np.float32)

    def launch() -> None:
        kernel((1,), (4,), (out, np.int32(4)), shared_mem=16)

    if words is None:
        launch()
        assert out.tolist() == [1, 1, 1, 1]
    else:
        with pytest.raises(RuntimeError, match=words):
            launch()


def test_blocks_that_do_not_run_together_cannot_wait_for_each_other() -> None:
    code = SNIPPET.replace("BODY", "atomicAdd((unsigned*)out, 1u); while (read_volatile((unsigned*)out) < 2) {}")
    kernel = HostKernel(build(code), "probe")
    with pytest.raises(RuntimeError, match="deadlock"):
        kernel((2,), (1,), (np.zeros(1, np.float32), np.int32(1)))
    kernel((2,), (1,), (np.zeros(1, np.float32), np.int32(1)), cooperative=True)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (1, 4, "wants np.int32, got 4"),
        (1, np.int64(4), "wants np.int32"),
        (1, np.float32(4), "wants np.int32"),
        (0, np.zeros(4), "wants an array of float32, got ndarray of float64"),
        (0, np.zeros((4, 2), np.float32)[:, 0], "not C-contiguous"),
        (0, None, "wants an array of float32, got None"),
    ],
)
def test_arguments_that_a_gpu_would_take_for_something_else_are_refused(place: int, value: Any, words: str) -> None:
    kernel = HostKernel(build(SNIPPET.replace("BODY", "out[threadIdx.x] = n;")), "probe")
    arguments: list[Any] = [np.zeros(4, np.float32), np.int32(4)]
    arguments[place] = value
    with pytest.raises(TypeError, match=words):
        kernel((1,), (4,), arguments)
