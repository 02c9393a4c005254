"""The CUDA kernels against the plain ones, run on the CPU through the simulator of tests/cuda_sim."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cuda_sim.cases import STEPWISE, by_plan, distance, make_case, run, tight
from cuda_sim.little_cupy import LittleCupy

from kernels.cells import CELLS
from kernels.cuda import modules
from kernels.cuda.cuda_kernels import CudaKernels
from kernels.cuda.plan import LAPTOP, Device

pytestmark = pytest.mark.device

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DTYPES = ("float32", "float64")


def roomy(seed: int = 0) -> LittleCupy:
    """A device that takes whatever launch a test lays out."""
    return LittleCupy(seed, MultiProcessorCount=64, MaxSharedMemoryPerBlockOptin=1 << 17, MaxThreadsPerBlock=128)


# -- every kernel against the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "row_tile"), [(d, rows) for d in DTYPES for rows in modules.ROW_TILES[d]])
@pytest.mark.parametrize("cell", CELLS)
def test_a_persistent_sequence_of_many_blocks_groups_passes_and_tiles(
    cell: str, dtype: str, row_tile: int, seed: int
) -> None:
    # the last block has fewer units than the others, the last group fewer rows
    H = 24 if seed == 2 else 21  # rows of 24 numbers start on 16 bytes: these are staged a vector at a time
    lengths = [3, 0, 1, 2, 3, 0, 2, 3, 1, 3, 2, 2, 3, 1, 0, 3, 2, 1, 3]
    case = make_case(cell, T=3, B=19, H=H, dtype=dtype, lengths=lengths, seed=seed)
    forward, backward = tight(case, slices=3, groups=2, row_tile=row_tile)
    for way in (forward, backward):
        assert way.slices >= 3
        assert way.groups >= 2
        assert way.tile < H
        assert way.parts > 1
        assert row_tile == 8 or way.teams * row_tile < way.rows
    xp = roomy(seed)
    assert distance(case, by_plan(xp, forward, backward)) <= TOLERANCE[dtype]
    assert [name for name, _ in xp.launches] == [f"{cell}_forward_{row_tile}", f"{cell}_backward_{row_tile}"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_at_a_time(cell: str, dtype: str) -> None:
    case = make_case(cell, T=4, B=5, H=11, dtype=dtype, lengths=[4, 0, 2, 1, 3])
    xp = roomy(seed=1)
    assert distance(case, by_plan(xp, STEPWISE, STEPWISE)) <= TOLERANCE[dtype]
    assert {name.partition("_step_")[0] for name, _ in xp.launches} == {cell}


@pytest.mark.parametrize("path", ["persistent", "stepwise"])
@pytest.mark.parametrize(("T", "B", "H"), [(1, 3, 5), (4, 1, 7), (3, 2, 1), (1, 1, 1), (2, 5, 8), (3, 9, 33)])
@pytest.mark.parametrize("cell", CELLS)
def test_sizes_at_the_edge(cell: str, T: int, B: int, H: int, path: str) -> None:
    xp = LittleCupy(seed=1, CooperativeLaunch=int(path == "persistent"), MaxSharedMemoryPerBlockOptin=20000)
    for lengths in (None, [(b * 2) % (T + 1) for b in range(B)]):
        kernels = CudaKernels(xp)
        assert distance(make_case(cell, T, B, H, lengths=lengths, seed=H), kernels) <= 1e-12
        assert kernels.last_plan is not None
        assert {kernels.last_plan.forward.path, kernels.last_plan.backward.path} == {path}


@pytest.mark.parametrize("path", ["persistent", "stepwise"])
@pytest.mark.parametrize("cell", CELLS)
def test_what_may_be_left_out_may_be_left_out(cell: str, path: str) -> None:
    full = make_case(cell, T=3, B=2, H=5, lengths=[3, 1])
    nothing: dict[str, Any]
    for absent in ({"bias_hh"}, {"dy"}, {"dh_last"}, {"dc_last"}, {"lengths"}, {"dy", "dh_last", "dc_last"}):
        nothing = dict.fromkeys(absent)
        case = full._replace(**nothing)
        for trace in (False, True):
            kernels = CudaKernels(LittleCupy(CooperativeLaunch=int(path == "persistent")))
            assert distance(case, kernels, trace) <= 1e-12


@pytest.mark.parametrize("cell", CELLS)
def test_what_stands_in_a_pad_reaches_nothing(cell: str) -> None:
    case = make_case(cell, T=4, B=3, H=6, lengths=[4, 2, 0])
    other = make_case(cell, T=4, B=3, H=6, lengths=[4, 2, 0], seed=1)
    pads = np.arange(4)[:, None] >= case.lengths
    changed = case._replace(pre=np.where(pads[..., None], other.pre, case.pre))
    first, second = (run(CudaKernels(LittleCupy()), one) for one in (case, changed))
    for mine, theirs in zip((*first[0], *first[1]), (*second[0], *second[1]), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("cell", CELLS)
def test_the_order_of_threads_and_blocks_changes_no_bit(cell: str) -> None:
    case = make_case(cell, T=3, B=7, H=21, dtype="float32")
    ways = tight(case, slices=3, groups=2)
    first, *others = (run(by_plan(roomy(seed), *ways), case) for seed in range(4))
    for other in others:
        for mine, theirs in zip((*first[0], *first[1]), (*other[0], *other[1]), strict=True):
            if mine is not None:
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_launch_as_it_is_planned_for_a_real_device(cell: str, dtype: str) -> None:
    limits = {
        "MultiProcessorCount": LAPTOP.multiprocessors,
        "MaxSharedMemoryPerBlockOptin": LAPTOP.shared_bytes,
        "MaxThreadsPerBlock": LAPTOP.max_threads,
    }
    kernels = CudaKernels(LittleCupy(seed=1, check=False, **limits))
    assert (
        distance(make_case(cell, T=3, B=21, H=70, dtype=dtype, lengths=np.arange(21) % 4), kernels) <= TOLERANCE[dtype]
    )
    assert kernels.last_plan is not None
    for way in kernels.last_plan:
        assert way.path == "persistent"
        assert way.blocks > 8
        assert way.threads > 64


# -- by finite differences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["persistent", "stepwise"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_gradients_are_those_of_the_simulated_forward(cell: str, path: str) -> None:
    case = make_case(cell, T=3, B=3, H=5, lengths=[3, 2, 0], seed=5)
    ways = tight(case, slices=2, groups=2) if path == "persistent" else (STEPWISE, STEPWISE)
    kernels = by_plan(roomy(), *ways)
    T, B, _ = case.dy.shape

    def loss(**changed: Any) -> float:
        c = case._replace(**changed)
        done = kernels.forward(c.cell, c.pre, c.weight_hh, c.bias_hh, c.h0, c.c0, c.lengths)
        value = np.sum(done.h[1:] * c.dy) + np.sum(done.h[-1] * c.dh_last)
        return float(value + (np.sum(done.c[-1] * c.dc_last) if c.cell.has_c else 0.0))

    _, adjoints = run(kernels, case)
    analytic = {
        "pre": adjoints.da.reshape(T, B, -1),
        "h0": adjoints.dh0,
        "bias_hh": adjoints.da_hidden.sum((0, 1)).ravel(),
    }
    if case.cell.has_c:
        analytic["c0"] = adjoints.dc0
    rng = np.random.default_rng(8)
    for name, gradient in analytic.items():
        value = getattr(case, name)
        for flat in rng.choice(value.size, size=min(12, value.size), replace=False):
            place = np.unravel_index(flat, value.shape)
            sides = []
            for step in (1e-5, -1e-5):
                moved = value.copy()
                moved[place] += step
                sides.append((loss(**{name: moved}), moved[place]))
            (upper, x_upper), (lower, x_lower) = sides
            assert abs((upper - lower) / (x_upper - x_lower) - gradient[place]) <= 1e-7 * max(
                1.0, abs(gradient[place])
            ), name


# -- the kernel set ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_the_launches_of_a_persistent_sequence_do_not_depend_on_its_length(cell: str) -> None:
    counts = []
    for T in (2, 7):
        xp = LittleCupy(MaxSharedMemoryPerBlockOptin=20000)
        run(CudaKernels(xp), make_case(cell, T, B=3, H=5))
        counts.append(len(xp.launches))
    assert counts == [2, 2]


@pytest.mark.parametrize(("slices", "groups"), [(3, 2), (3, 1), (1, 3)])
def test_a_grid_of_many_blocks_is_never_one_that_cupy_would_shrink(slices: int, groups: int) -> None:
    xp = roomy()
    case = make_case("lstm", T=2, B=5, H=21)
    assert distance(case, by_plan(xp, *tight(case, slices, groups))) <= TOLERANCE["float64"]
    for _, grid in xp.launches:
        assert grid[0] == 1  # CuPy shrinks (n, 1, 1) and refuses every other
        assert grid[1] == groups
        assert grid[2] >= slices


def test_arguments_in_any_memory_order_are_taken() -> None:
    case = make_case("gru", T=3, B=4, H=5, lengths=[3, 1, 2, 0])
    case = case._replace(
        pre=np.asfortranarray(case.pre),
        weight_hh=np.asfortranarray(case.weight_hh),
        dy=case.dy[::-1].copy()[::-1],
        lengths=case.lengths.astype(np.int64),
    )
    assert distance(case, CudaKernels(LittleCupy())) <= 1e-12


def test_backward_changes_nothing_that_it_is_given() -> None:
    case = make_case("lstm", T=3, B=4, H=5)
    kernels = CudaKernels(LittleCupy(MaxSharedMemoryPerBlockOptin=20000))
    forward, first = run(kernels, case)
    before = [array.copy() for array in (*forward[:3], case.dy, case.dh_last, case.dc_last)]
    again = kernels.backward(
        case.cell, forward, case.weight_hh, case.dy, case.dh_last, case.dc_last, case.lengths, trace=True
    )
    for kept, now in zip(before, (*forward[:3], case.dy, case.dh_last, case.dc_last), strict=True):
        np.testing.assert_array_equal(kept, now)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_copies_and_complex_numbers_of_a_gradient_check_go_to_the_plain_kernels() -> None:
    case = make_case("lstm", T=3, B=2, H=4)
    xp = LittleCupy()
    kernels = CudaKernels(xp)
    assert distance(case._replace(pre=case.pre + 0.1j), kernels) == 0.0
    assert kernels.last_plan is None
    copies = kernels.forward(
        case.cell,
        case.pre[:, None].repeat(3, 1),
        case.weight_hh,
        case.bias_hh,
        case.h0[None].repeat(3, 0),
        case.c0[None],
    )
    assert copies.h.shape == (4, 3, 2, 4)
    assert kernels.last_plan is None
    assert xp.launches == []
    assert kernels.fallback_reason is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("CuPy failed to load libnvrtc.so.12: OSError: no such file"),
            r"NVRTC.*pip install 'bptt-engine\[cuda12\]'",
        ),
        (ValueError("line 1: expected\na ';'"), r"do not compile here \(line 1: expected a ';'\).*kernels='reference'"),
    ],
)
def test_kernels_that_do_not_compile_leave_a_reason_and_the_plain_path(error: Exception, words: str) -> None:
    xp = LittleCupy()

    def broken(**_: Any) -> Any:
        raise error

    xp.RawModule = broken  # type: ignore[method-assign]
    kernels = CudaKernels(xp)
    case = make_case("gru_before", T=3, B=2, H=4)
    with pytest.warns(RuntimeWarning) as warned:
        assert distance(case, kernels) == 0.0
    assert [str(one.message).split(": ")[0] for one in warned] == [
        "CUDA kernels 'forward' for float64",
        "CUDA kernels 'stepwise' for float64",
    ]
    assert all(re.search(words, str(one.message)) for one in warned)
    assert distance(case, kernels) == 0.0  # once is enough
    assert kernels.last_plan is None
    assert kernels.fallback_reason is not None
    assert "\n" not in kernels.fallback_reason
    assert re.search(words, kernels.fallback_reason)


@pytest.mark.parametrize("name", ["lstm", "gru_before"])
def test_where_the_persistent_kernels_do_not_compile_the_steps_run(name: str) -> None:
    xp = LittleCupy()
    compile_any = xp.RawModule

    def no_cooperation(**arguments: Any) -> Any:
        if arguments.get("enable_cooperative_groups"):
            raise RuntimeError("ptxas error: too much shared data")
        return compile_any(**arguments)

    xp.RawModule = no_cooperation  # type: ignore[method-assign]
    kernels = CudaKernels(xp)
    with pytest.warns(RuntimeWarning, match=r"for float64: .*too much shared data\): slower code runs instead"):
        assert distance(make_case(name, T=3, B=2, H=4), kernels) <= TOLERANCE["float64"]
    assert kernels.fallback_reason is None
    assert kernels.last_plan is not None
    assert kernels.last_plan.backward.path == "stepwise"
    assert "too much shared data" in kernels.last_plan.backward.reason
    assert {launched.split("_step")[0] for launched, _ in xp.launches} == {name}


@pytest.mark.parametrize("error", [MemoryError("pool"), RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")])
def test_want_of_memory_is_no_fault_of_the_kernels(error: Exception) -> None:
    xp = LittleCupy()
    compile_any, room = xp.RawModule, [False]

    def full(**arguments: Any) -> Any:
        if room[0]:
            return compile_any(**arguments)
        raise error

    xp.RawModule = full  # type: ignore[method-assign]
    kernels = CudaKernels(xp)
    case = make_case("lstm", T=3, B=2, H=4)
    with pytest.raises(type(error), match=str(error)):
        run(kernels, case)
    room[0] = True
    assert distance(case, kernels) <= TOLERANCE["float64"]
    assert kernels.fallback_reason is None
    assert len(xp.launches) > 0


def test_the_device_is_read_from_the_library() -> None:
    device = Device.of(
        LittleCupy(MultiProcessorCount=108, MaxSharedMemoryPerBlockOptin=166912, MaxThreadsPerBlock=1024)
    )
    assert device[1:] == (108, 166912, 1024, 65536, (9, 0), True)
    assert "9.0" in device.name
