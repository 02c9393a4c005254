"""The CUDA kernels against the plain ones, run on the CPU through the simulator of tests/cuda_sim."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cuda_sim.cases import STEPWISE, arrays, by_plan, distance, make_case, run, tight
from cuda_sim.little_cupy import LittleCupy
from cuda_sim.own_cells import CELLS, OTHERS, functions

from kernels.cells import Cell, Phase
from kernels.cuda.cuda_kernels import CudaKernels
from kernels.cuda.plan import LAPTOP, Device, not_persistent

pytestmark = pytest.mark.device

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DTYPES = ("float32", "float64")
OTHER = [cell.name for cell in OTHERS]
OTHER_PERSISTENT = [cell.name for cell in OTHERS if not_persistent(cell) is None]
#: Every row tile there is, with a schedule of its own.
TILES = [("float32", 1, 0), ("float32", 4, 1), ("float32", 8, 2), ("float64", 1, 2), ("float64", 4, 1)]


def roomy(seed: int = 0) -> LittleCupy:
    """A device that takes whatever launch a test lays out."""
    return LittleCupy(seed, MultiProcessorCount=64, MaxSharedMemoryPerBlockOptin=1 << 17, MaxThreadsPerBlock=128)


# -- every kernel against the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "dtype", "row_tile", "seed"),
    [(cell, *tile) for cell in CELLS for tile in TILES] + [(cell, *TILES[-1]) for cell in OTHER_PERSISTENT],
)
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


@pytest.mark.parametrize(
    ("cell", "dtype"), [(cell, dtype) for cell in CELLS for dtype in DTYPES] + [(cell, "float64") for cell in OTHER]
)
def test_a_step_at_a_time(cell: str, dtype: str) -> None:
    case = make_case(cell, T=4, B=5, H=11, dtype=dtype, lengths=[4, 0, 2, 1, 3])
    xp = roomy(seed=1)
    assert distance(case, by_plan(xp, STEPWISE, STEPWISE)) <= TOLERANCE[dtype]
    assert {name.partition("_step_")[0] for name, _ in xp.launches} == {cell}


def test_float32_of_a_cell_of_the_users() -> None:
    case = make_case("sim_exponential", T=4, B=5, H=11, dtype="float32", lengths=[4, 0, 2, 1, 3])
    assert distance(case, by_plan(roomy(seed=1), STEPWISE, STEPWISE)) <= TOLERANCE["float32"]


@pytest.mark.parametrize("path", ["persistent", "stepwise"])
@pytest.mark.parametrize(("T", "B", "H"), [(1, 3, 5), (4, 1, 7), (3, 2, 1), (1, 1, 1), (3, 9, 33)])
@pytest.mark.parametrize("cell", [*CELLS, "sim_apart__zoneout_h_c", "mgu"])
def test_sizes_at_the_edge(cell: str, T: int, B: int, H: int, path: str) -> None:
    xp = LittleCupy(seed=1, CooperativeLaunch=int(path == "persistent"), MaxSharedMemoryPerBlockOptin=20000)
    for lengths in (None, [(b * 2) % (T + 1) for b in range(B)]):
        kernels = CudaKernels(xp)
        assert distance(make_case(cell, T, B, H, lengths=lengths, seed=H), kernels) <= 1e-12
        assert kernels.last_plan is not None
        assert {kernels.last_plan.forward.path, kernels.last_plan.backward.path} == {path}


@pytest.mark.parametrize("path", ["persistent", "stepwise"])
@pytest.mark.parametrize("cell", [*CELLS, "projected_lstm", "sim_apart__zoneout_h_c"])
def test_what_may_be_left_out_may_be_left_out(cell: str, path: str) -> None:
    full = make_case(cell, T=3, B=2, H=5, lengths=[3, 1])
    no_bias = {name: value for name, value in full.weights.items() if name != "bias_hh"}
    nothing = (None,) * len(full.dlast)
    left_out: list[dict[str, Any]] = [
        {"weights": no_bias},
        {"dy": None},
        {"dlast": nothing},
        {"dlast": (full.dlast[0], *nothing[1:])},
        {"lengths": None},
        {"dy": None, "dlast": nothing},
    ]
    for absent in left_out:
        for trace in (False, True):
            kernels = CudaKernels(LittleCupy(CooperativeLaunch=int(path == "persistent")))
            assert distance(full._replace(**absent), kernels, trace) <= 1e-12


@pytest.mark.parametrize("sizes", [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_a_factor_for_all_steps_or_rows_or_for_each(sizes: tuple[int, int]) -> None:
    case = make_case("sim_apart__zoneout_h_c", T=3, B=4, H=5, lengths=[3, 1, 2, 0])
    draw = np.random.default_rng(3).standard_normal
    case = case._replace(factors={name: draw((*sizes, 5)) for name in case.factors})
    assert distance(case, CudaKernels(LittleCupy())) <= 1e-12


@pytest.mark.parametrize("cell", [*CELLS, "sim_exponential", "projected_lstm"])
def test_what_stands_in_a_pad_reaches_nothing(cell: str) -> None:
    case = make_case(cell, T=4, B=3, H=6, lengths=[4, 2, 0])
    pads = (np.arange(4)[:, None] >= case.lengths)[..., None]
    changed = case._replace(pre=np.where(pads, np.nan, case.pre))
    first, second = (run(CudaKernels(LittleCupy()), one) for one in (case, changed))
    for (_, mine), (name, theirs) in zip(arrays(first), arrays(second), strict=True):
        if theirs is not None:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


@pytest.mark.parametrize("cell", [*CELLS, "sim_apart__zoneout_h_c"])
def test_the_order_of_threads_and_blocks_changes_no_bit(cell: str) -> None:
    case = make_case(cell, T=3, B=7, H=21, dtype="float64")
    ways = tight(case, slices=3, groups=2)
    first, *others = (run(by_plan(roomy(seed), *ways), case) for seed in range(4))
    for other in others:
        for (_, mine), (name, theirs) in zip(arrays(first), arrays(other), strict=True):
            if mine is not None:
                np.testing.assert_array_equal(mine, theirs, err_msg=name)


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


@pytest.mark.parametrize(
    ("cell", "path"),
    [(cell, "persistent") for cell in (*CELLS, *OTHER_PERSISTENT)]
    + [(cell, "stepwise") for cell in OTHER if cell not in OTHER_PERSISTENT and cell != "indrnn"],
)
def test_the_gradients_are_those_of_the_simulated_forward(cell: str, path: str) -> None:
    case = make_case(cell, T=3, B=3, H=5, lengths=[3, 2, 0], seed=5)
    ways = tight(case, slices=2, groups=2) if path == "persistent" else (STEPWISE, STEPWISE)
    kernels = by_plan(roomy(), *ways)
    T, B, _ = case.dy.shape

    def loss(name: str, value: Any) -> float:
        c = case
        if name in c.weights:
            c = c._replace(weights=c.weights | {name: value})
        elif name == "pre":
            c = c._replace(pre=value)
        else:
            c = c._replace(
                states=tuple(value if one == name else old for one, old in zip(cell_.states, c.states, strict=True))
            )
        done = kernels.forward(c.cell, c.pre, c.weights, c.states, c.lengths, c.factors)
        last = sum(np.sum(slots[-1] * d) for slots, d in zip(done.states, c.dlast, strict=True))
        return float(np.sum(done.h[1:] * c.dy) + last)

    cell_, (_, adjoints) = case.cell, run(kernels, case)
    analytic = {
        "pre": (case.pre, adjoints.da.reshape(T, B, -1)),
        "bias_hh": (case.weights["bias_hh"], adjoints.da_hidden.sum((0, 1)).ravel()),
    }
    analytic |= {
        name: (state, gradient)
        for name, state, gradient in zip(cell_.states, case.states, adjoints.dstates, strict=True)
    }
    analytic |= {name: (case.weights[name], adjoints.own[name]) for name in cell_.own}
    rng = np.random.default_rng(8)
    for name, (value, gradient) in analytic.items():
        for flat in rng.choice(value.size, size=min(8, value.size), replace=False):
            place = np.unravel_index(flat, value.shape)
            sides = []
            for step in (1e-5, -1e-5):
                moved = value.copy()
                moved[place] += step
                sides.append((loss(name, moved), moved[place]))
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
        weights=case.weights | {"weight_hh": np.asfortranarray(case.weights["weight_hh"])},
        dy=case.dy[::-1].copy()[::-1],
        lengths=case.lengths.astype(np.int64),
    )
    assert distance(case, CudaKernels(LittleCupy())) <= 1e-12


@pytest.mark.parametrize("cell", ["lstm", "projected_lstm", "sim_apart__zoneout_h_c"])
def test_backward_changes_nothing_that_it_is_given(cell: str) -> None:
    case = make_case(cell, T=3, B=4, H=5)
    kernels = CudaKernels(LittleCupy(MaxSharedMemoryPerBlockOptin=20000))
    forward, first = run(kernels, case)
    given = [*forward.states, forward.gates, *forward.kept.values(), case.dy, *case.dlast, *case.weights.values()]
    before = [array.copy() for array in given]
    again = kernels.backward(
        case.cell, forward, case.weights, case.dy, case.dlast, case.lengths, trace=True, factors=case.factors
    )
    for kept, now in zip(before, given, strict=True):
        np.testing.assert_array_equal(kept, now)
    for (_, one), (name, other) in zip(arrays((forward, first)), arrays((forward, again)), strict=True):
        if one is not None:
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_copies_and_complex_numbers_of_a_gradient_check_go_to_the_plain_kernels() -> None:
    case = make_case("lstm", T=3, B=2, H=4)
    xp = LittleCupy()
    kernels = CudaKernels(xp)
    assert distance(case._replace(pre=case.pre + 0.1j), kernels) == 0.0
    assert kernels.last_plan is None
    copies = tuple(state[None].repeat(3, 0) for state in case.states)
    found = kernels.forward(case.cell, case.pre[:, None].repeat(3, 1), case.weights, copies)
    assert found.h.shape == (4, 3, 2, 4)
    assert kernels.last_plan is None
    assert xp.launches == []
    assert kernels.fallback_reason is None


def test_a_cell_with_row_functions_is_array_code_and_the_plan_says_so() -> None:
    def forward(a_h: Any, tanh: Any) -> Any:
        h = tanh(a_h)
        return h

    def backward(dh: Any, h: Any, one: Any) -> Any:
        da_h = dh * (one - h * h)
        return da_h

    rows = (lambda values: values * 2, lambda dout, values, out: dout * 2)
    cell = Cell("sim_between", Phase("h", forward, backward, between=rows))
    xp = LittleCupy()
    kernels = CudaKernels(xp)
    case = make_case(cell, T=3, B=2, H=4, lengths=[3, 1])
    assert distance(case, kernels) == 0.0
    assert xp.launches == []
    assert kernels.fallback_reason is None
    assert "row functions" in kernels.plan(cell, 2, 4, 3, case.pre.dtype, Device.of(xp)).forward.reason


def test_a_layer_of_a_cell_of_the_users_is_that_of_the_reference() -> None:
    from kernels.reference import ReferenceKernels

    case = make_case("peephole_lstm", T=5, B=3, H=6, lengths=[5, 2, 4])
    draw = np.random.default_rng(4).standard_normal
    x, weights = draw((5, 3, 4)), case.weights | {"weight_ih": draw((24, 4)), "bias_ih": draw(24)}
    found = []
    for kernels in (ReferenceKernels(np), CudaKernels(LittleCupy())):
        grads = {name: np.zeros_like(value) for name, value in weights.items()}
        kept, y = kernels.forward_layer(case.cell, x, weights, case.states, case.lengths)
        _, dx = kernels.backward_layer(case.cell, kept, x, weights, case.dy, case.dlast, grads, case.lengths)
        found.append({"y": y, "dx": dx, **grads})
    for name, right in found[0].items():
        np.testing.assert_allclose(found[1][name], right, rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_cell_that_is_written_anew_gets_new_kernels() -> None:
    kernels = CudaKernels(LittleCupy())
    for scale in ("2", "3"):
        text = f"def forward(a_h):\n    h = a_h * {scale}\n    return h\n\n"
        text += f"def backward(dh):\n    da_h = dh * {scale}\n    return da_h\n"
        cell = Cell("sim_anew", Phase("h", *functions(text)))
        assert distance(make_case(cell, T=3, B=2, H=4), kernels) <= 1e-12
    assert kernels.last_plan is not None


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
        "CUDA kernels 'forward' of 'gru_before' for float64",
        "CUDA kernels 'stepwise' of 'gru_before' for float64",
        "CUDA kernels 'backward' of 'gru_before' for float64",
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
