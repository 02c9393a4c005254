"""The kernel set ``cuda`` as a whole: what it launches, what it takes, and what runs where its kernels cannot."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cuda_sim.layer_case import arrays, by_plan, distance, make_case, run, tight
from cuda_sim.little_cupy import LittleCupy
from cuda_sim.own_cells import FIVE_CELLS, functions

from kernels.cells import Cell, Pass, Phase
from kernels.cuda.cuda_kernels import CudaKernels
from kernels.cuda.launches import Device

pytestmark = pytest.mark.device

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def roomy(seed: int = 0) -> LittleCupy:
    """A device that takes whatever launch a test lays out."""
    return LittleCupy(seed, MultiProcessorCount=64, MaxSharedMemoryPerBlockOptin=1 << 17, MaxThreadsPerBlock=128)


@pytest.mark.parametrize("cell", FIVE_CELLS)
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
    again = kernels.backward(case.given, forward, case.dy, case.dlast, trace=True)
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
    found = kernels.forward(Pass(case.cell, case.weights), case.pre[:, None].repeat(3, 1), copies)
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
        given = Pass(case.cell, weights, case.lengths)
        kept, y = kernels.forward_layer(given, x, case.states)
        _, dx = kernels.backward_layer(given, kept, x, case.dy, case.dlast, grads)
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
