"""The CUDA kernels against the plain ones, run on the CPU through the simulator of tests/cuda_sim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_sim.gpus import LAPTOP
from cuda_sim.layer_case import STEPWISE, arrays, by_plan, distance, make_case, run, tight
from cuda_sim.little_cupy import LittleCupy
from cuda_sim.own_cells import FIVE_CELLS, OTHERS

from kernels.cuda.cuda_kernels import CudaKernels
from kernels.cuda.launches import not_persistent

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
    [(cell, *tile) for cell in FIVE_CELLS for tile in TILES] + [(cell, *TILES[-1]) for cell in OTHER_PERSISTENT],
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
    ("cell", "dtype"),
    [(cell, dtype) for cell in FIVE_CELLS for dtype in DTYPES] + [(cell, "float64") for cell in OTHER],
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
@pytest.mark.parametrize("cell", [*FIVE_CELLS, "sim_apart__zoneout_h_c", "mgu"])
def test_sizes_at_the_edge(cell: str, T: int, B: int, H: int, path: str) -> None:
    xp = LittleCupy(seed=1, CooperativeLaunch=int(path == "persistent"), MaxSharedMemoryPerBlockOptin=20000)
    for lengths in (None, [(b * 2) % (T + 1) for b in range(B)]):
        kernels = CudaKernels(xp)
        assert distance(make_case(cell, T, B, H, lengths=lengths, seed=H), kernels) <= 1e-12
        assert kernels.last_plan is not None
        assert {kernels.last_plan.forward.path, kernels.last_plan.backward.path} == {path}


@pytest.mark.parametrize("path", ["persistent", "stepwise"])
@pytest.mark.parametrize("cell", [*FIVE_CELLS, "projected_lstm", "sim_apart__zoneout_h_c"])
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


@pytest.mark.parametrize("cell", [*FIVE_CELLS, "sim_exponential", "projected_lstm"])
def test_what_stands_in_a_pad_reaches_nothing(cell: str) -> None:
    case = make_case(cell, T=4, B=3, H=6, lengths=[4, 2, 0])
    pads = (np.arange(4)[:, None] >= case.lengths)[..., None]
    changed = case._replace(pre=np.where(pads, np.nan, case.pre))
    first, second = (run(CudaKernels(LittleCupy()), one) for one in (case, changed))
    for (_, mine), (name, theirs) in zip(arrays(first), arrays(second), strict=True):
        if theirs is not None:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


@pytest.mark.parametrize("cell", [*FIVE_CELLS, "sim_apart__zoneout_h_c"])
def test_the_order_of_threads_and_blocks_changes_no_bit(cell: str) -> None:
    case = make_case(cell, T=3, B=7, H=21, dtype="float64")
    ways = tight(case, slices=3, groups=2)
    first, *others = (run(by_plan(roomy(seed), *ways), case) for seed in range(4))
    for other in others:
        for (_, mine), (name, theirs) in zip(arrays(first), arrays(other), strict=True):
            if mine is not None:
                np.testing.assert_array_equal(mine, theirs, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", FIVE_CELLS)
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
    [(cell, "persistent") for cell in (*FIVE_CELLS, *OTHER_PERSISTENT)]
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
        done = kernels.forward(c.given, c.pre, c.states)
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
