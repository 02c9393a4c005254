"""The planner of the CUDA kernels: what it promises for any size, on GPUs that are not there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from cuda_sim.gpus import A100, H100, H200, LAPTOP, RTX_4090
from cuda_sim.own_cells import EVERY, FIVE_CELLS, functions
from hypothesis import given
from hypothesis import strategies as st

from kernels.cells import Cell, Phase
from kernels.cuda import launches as cuda_plan
from kernels.cuda import modules
from kernels.cuda.launches import Device, Launch, plan

pytestmark = pytest.mark.device

DEVICES = (A100, H100, H200, RTX_4090, LAPTOP, Device("tiny", 6, 4096, max_threads=32), Device("one", 1, 49152))

sizes = st.tuples(
    st.sampled_from([*FIVE_CELLS, "mgu", "slstm"]),
    st.integers(1, 4096) | st.integers(1, 40),
    st.integers(1, 4096) | st.integers(1, 40),
    st.integers(1, 4096),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from(DEVICES),
)


def persistent_bytes(name: str, direction: str, way: Launch, H: int, size: int) -> int:
    """Shared memory as the kernels lay it out, from forward.cu, backward.cu and product.cuh, apart from the planner."""
    vector = 16 // size

    def padded(length: int) -> int:
        vectors = (length + vector - 1) // vector
        return (vectors if vectors % 2 else vectors + 1) * vector

    def stride(length: int) -> int:
        vectors = (length + vector - 1) // vector
        wanted = {2: (4,), 3: (3,), 4: (2,)}.get(way.lanes, (1, 3, 5, 7))
        while vectors % 8 not in wanted:
            vectors += 1
        return vectors * vector

    G = len(EVERY[name].gates)
    second = {"gru_before": 1, "mgu": 1}.get(name, 0)  # gates of the second product
    if direction == "forward":
        weights = G * way.units * stride(H)
        columns = {"gru_before": 2, "mgu": 4}.get(name) or {1: 4, 3: 3, 4: 4}[G]
    elif second:
        weights = way.units * stride(-(-H // vector) * vector + (G - 1) * H)
        columns = 4
    else:
        weights = way.units * stride(G * H)
        columns = 4
    assert way.columns == columns
    sums = way.row_tile * columns * way.threads
    tile = way.teams * way.row_tile * padded(way.tile)
    return (weights + max(sums, tile)) * size


@given(sizes)
def test_a_persistent_launch_fits_and_covers_each_unit_and_row_once(drawn: tuple) -> None:
    name, B, H, T, dtype, device = drawn
    size = np.dtype(dtype).itemsize
    planned = plan(EVERY[name], B, H, T, dtype, device)
    assert planned == plan.__wrapped__(EVERY[name], B, H, T, dtype, device)  # the same again, without the cache
    for direction, way in zip(("forward", "backward"), planned, strict=True):
        assert way.reason
        if way.path != "persistent":
            assert way.path == "stepwise"
            assert way[2:] == (0,) * 12
            continue
        # it fits: the whole grid is resident at once, a block for each multiprocessor
        assert 1 <= way.blocks <= device.multiprocessors
        assert 1 <= way.threads <= min(device.max_threads, cuda_plan.MAX_THREADS)
        assert way.threads * cuda_plan.MAX_REGISTERS <= device.registers
        assert way.shared_bytes == persistent_bytes(name, direction, way, H, size) <= device.shared_bytes
        assert f"{name}_{direction}_{way.row_tile}" in modules.names(direction, EVERY[name], dtype)
        assert way.tile > 0
        assert way.tile * size % 16 == 0
        spread = 4 if direction == "backward" or name in ("rnn_tanh", "rnn_relu", "mgu") else 1
        assert way.units == way.lanes * spread
        # each unit in one slice, each row in one group, no block without work
        units = Counter(j for s in range(way.slices) for j in range(s * way.units, min(H, (s + 1) * way.units)))
        assert units == Counter(range(H))
        rows = Counter(b for g in range(way.groups) for b in range(g * way.rows, min(B, (g + 1) * way.rows)))
        assert rows == Counter(range(B))
        assert (way.slices - 1) * way.units < H
        assert (way.groups - 1) * way.rows < B


@pytest.mark.parametrize("device", [H100, H200])
@pytest.mark.parametrize("H", [128, 256, 512, 1024])
@pytest.mark.parametrize("B", [1, 16, 64])
@pytest.mark.parametrize("cell", FIVE_CELLS)
def test_hopper_keeps_the_weights_of_the_common_sizes_in_shared_memory(
    cell: str, B: int, H: int, device: Device
) -> None:
    assert plan(EVERY[cell], B, H, 50, "float32", device).forward.path == "persistent"


@pytest.mark.parametrize("length", [5, 21, 128, 260, 1024, 4096])
@pytest.mark.parametrize("teams", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 8, 16, 32])
def test_eight_threads_that_read_weights_together_use_every_bank_once(lanes: int, teams: int, length: int) -> None:
    # shared memory is 8 vectors of 16 bytes wide; what several threads read of the same place is read once
    stride = cuda_plan.weight_stride(length, lanes, 4) // 4
    assert stride >= -(-length // 4)
    for first in range(0, 32 * lanes * teams, 8):
        threads = range(first, first + 8)
        places = {thread % lanes * stride + thread // (lanes * teams) for thread in threads}
        assert len({place % 8 for place in places}) == len(places)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("projected_lstm", "its hidden state is a projection"),
        ("indrnn", "a phase without a recurrent product"),
        ("gru__mask", "a phase without a recurrent product"),
        ("sim_three", "3 recurrent products a step"),
    ],
)
def test_a_cell_of_another_shape_goes_step_by_step_and_says_why(cell: str, words: str) -> None:
    for way in plan(EVERY[cell], 4, 32, 5, "float32", H100):
        assert way.path == "stepwise"
        assert words in way.reason


def test_more_gates_than_a_thread_can_sum_go_step_by_step() -> None:
    letters = [f"g{number}" for number in range(40)]
    sums = " + ".join(f"a_{letter}" for letter in letters)
    lines = [f"    {letter} = a_{letter}" for letter in letters]
    arguments = ", ".join(f"a_{letter}" for letter in letters)
    text = f"def forward({arguments}):\n" + "\n".join(
        [*lines, f"    h = {sums}", f"    return {', '.join(letters)}, h\n\n"]
    )
    back = [f"    da_{letter} = dh * 1" for letter in letters]
    text += "def backward(dh):\n" + "\n".join(
        [*back, f"    return {', '.join('da_' + letter for letter in letters)}\n"]
    )
    cell = Cell("sim_many_gates", Phase(letters, *functions(text)))
    forward_way, backward_way = plan(cell, 4, 32, 5, "float32", H100)
    assert forward_way.path == "stepwise"
    assert "40 gates overfills" in forward_way.reason
    assert backward_way.path == "persistent"
    assert modules.names("forward", cell, "float32") == []


def test_what_does_not_fit_goes_step_by_step_and_says_why() -> None:
    for way in plan(EVERY["lstm"], 64, 2048, 50, "float32", H100):
        assert way.path == "stepwise"
        assert "64.0 MiB" in way.reason
        assert "do not fit" in way.reason


def test_a_large_batch_is_left_to_cublas() -> None:
    for way in plan(EVERY["lstm"], 4096, 1024, 50, "float32", H100):
        assert way.path == "stepwise"
        assert "cuBLAS" in way.reason


@pytest.mark.parametrize(
    ("device", "words"),
    [(H100._replace(cooperative=False), "cooperative"), (H100._replace(compute_capability=(6, 1)), "7.0")],
)
def test_a_device_without_a_barrier_goes_step_by_step(device: Device, words: str) -> None:
    for way in plan(EVERY["gru"], 4, 32, 5, "float32", device):
        assert way.path == "stepwise"
        assert words in way.reason


@pytest.mark.parametrize(("B", "H", "T", "dtype"), [(0, 4, 3, "float32"), (2, 4, 0, "float64"), (2, 4, 3, "float16")])
def test_what_the_kernels_do_not_do_is_left_to_array_code(B: int, H: int, T: int, dtype: str) -> None:
    for way in plan(EVERY["lstm"], B, H, T, dtype, H100):
        assert way.path == "plain"
        assert way.reason


def test_the_planner_knows_what_the_kernels_are_compiled_for() -> None:
    cell = EVERY["lstm"]
    for module in ("forward", "backward"):
        source = modules.source(module, cell, "float32")
        assert f"__launch_bounds__({cuda_plan.MAX_THREADS}, 1)" in source
        for rows in modules.row_tiles(modules.columns(module, cell), 4):
            assert f"ROWS_OF_A_THREAD(lstm, {rows})" in source
    assert f"COLUMNS_OF_A_THREAD = {modules.columns('backward', cell)};" in modules.source("backward", cell, "float32")
