"""The compiled kernels' own matrix products, on their own: right, in bounds, and one order of every sum."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from builders import FIVE_CELLS, build, distance, passes, random_arguments
from conftest import JIT_OFF
from hypothesis import given
from hypothesis import strategies as st

import engine
from kernels.cpu import products
from kernels.cpu.compiling import ready
from kernels.cpu.pointers import at
from kernels.cpu.products import padded
from kernels.cpu.tiles import ROWS, VECTORS, lanes

ROOT = Path(__file__).resolve().parent.parent
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
STARTS = ("none", "C itself", "one row for all", "other rows")

needs_compiled = pytest.mark.skipif(JIT_OFF, reason="too slow uncompiled (NUMBA_DISABLE_JIT)")


# The functions want pointers, which Python has not.  Rows are given by where they begin: a width of 1.


@numba.njit
def product(count: Any, columns: Any, a: Any, b: Any, c: Any, start: Any) -> None:
    a_rows, c_rows, start_rows = at(a[1]), at(c[1]), at(start[1])
    operand, packed = (at(a[0]), a_rows, 1, a[2], a[3]), (at(b[0]), b[1], b[2])
    begin = at(start[0]), start_rows, 1, start[2], start[3]
    products.product(count, columns, operand, packed, (at(c[0]), c_rows, 1, c[2]), begin)


@numba.njit
def pack(b: Any, b_rows: Any, b_at: Any, depth: Any, columns: Any, packed: Any, packed_at: Any) -> None:
    products.pack((at(b), at(b_rows), 1, b_at), depth, columns, at(packed), packed_at)


@numba.njit
def pack_transposed(b: Any, b_at: Any, b_step: Any, depth: Any, columns: Any, packed: Any, packed_at: Any) -> None:
    products.pack_transposed(at(b), b_at, b_step, depth, columns, at(packed), packed_at)


@pytest.fixture(scope="module", autouse=True)
def compiled_before() -> None:
    for dtype in DTYPES:
        ready(dtype)


class ProductCase(NamedTuple):
    """One call of `product`, with what lies around every operand."""

    a: Any
    a_rows: Any
    a_at: int
    a_step: int
    packed: Any
    packed_at: int
    depth: int
    c: Any
    c_rows: Any
    c_at: int
    start: Any
    start_rows: Any
    start_at: int
    has_start: int
    left: Any  # A, B and what is added, as matrices
    right: Any
    added: Any

    def run(self, rows: Any = slice(None), c: Any = None) -> Any:
        """The array that holds C, after the product of some of the rows."""
        out = self.c.copy() if c is None else c
        a_rows = np.ascontiguousarray(self.a_rows[rows])
        start = out if self.start is None else self.start
        product(
            len(a_rows),
            self.right.shape[1],
            (self.a, a_rows, self.a_at, self.a_step),
            (self.packed, self.packed_at, self.depth),
            (out, np.ascontiguousarray(self.c_rows[rows]), self.c_at),
            (start, np.ascontiguousarray(self.start_rows[rows]), self.start_at, self.has_start),
        )
        return out

    def cells(self) -> Any:
        """Where in its array every number of C lies."""
        return self.c_rows[:, None] + self.c_at + np.arange(self.right.shape[1])


@st.composite
def cases(draw: st.DrawFn) -> ProductCase:
    dtype: Any = draw(st.sampled_from(DTYPES))
    count = draw(st.integers(0, 3 * ROWS))
    columns = draw(st.integers(1, 2 * VECTORS * lanes(dtype) + 3))
    depth = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**30)))
    garbage = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))

    def scattered(rows: int, width: int) -> tuple[Any, Any, int]:
        """Places of that many rows, in any order, with gaps between and at both ends, and how much room they need."""
        step = width + draw(st.integers(0, 5))
        at = draw(st.integers(0, 9))
        return rng.permutation(rows) * step + draw(st.integers(0, 3)), at, at + rows * step + 20

    left, right = rng.normal(size=(count, depth)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
    if draw(st.booleans()):  # the rows of A are columns of an array
        width = count + draw(st.integers(0, 4))
        places, a_at, room = scattered(depth, width)
        places = np.sort(places)
        a_step = int(places[1] - places[0]) if depth > 1 else width
        a_at += int(places[0])
        a_rows = rng.permutation(np.arange(count))
        a = np.full(room + depth * a_step, garbage, dtype)
        a[a_at + a_rows[:, None] + a_step * np.arange(depth)] = left
    else:
        a_rows, a_at, room = scattered(count, depth)
        a_step, a = 1, np.full(room, garbage, dtype)
        a[a_at + a_rows[:, None] + np.arange(depth)] = left
    b_rows, b_at, room = scattered(depth, columns)
    b = np.full(room, garbage, dtype)
    b[b_at + b_rows[:, None] + np.arange(columns)] = right
    packed_at = draw(st.integers(0, 7))
    packed = np.full(packed_at + depth * padded(columns, dtype) + 5, garbage, dtype)
    pack(b, b_rows, b_at, depth, columns, packed, packed_at)
    c_rows, c_at, room = scattered(count, columns)
    c = rng.normal(size=room).astype(dtype)
    kind = draw(st.sampled_from(STARTS))
    start, start_rows, start_at, has_start = None, c_rows, c_at, int(kind != "none")
    added = np.zeros((count, columns), dtype)
    if kind == "C itself":
        added = c[c_rows[:, None] + c_at + np.arange(columns)]
    elif kind in ("one row for all", "other rows"):
        rows = 1 if kind == "one row for all" else count
        start_rows, start_at, room = scattered(rows, columns)
        start_rows = np.resize(start_rows, count)
        start = np.full(room, garbage, dtype)
        places = start_rows[:, None] + start_at + np.arange(columns)
        start[places] = rng.normal(size=(count, columns))
        added = start[places]
    return ProductCase(
        a, a_rows, a_at, a_step, packed, packed_at, depth, c, c_rows, c_at, start, start_rows, start_at, has_start,
        left, right, added,
    )  # fmt: skip


def assert_near(found: Any, left: Any, right: Any, added: Any = 0.0) -> None:
    """Within the rounding of as many additions, in the dtype of `found`, of the exact product."""
    exact = left.astype(np.longdouble) @ right.astype(np.longdouble) + added
    scale = np.abs(left).astype(np.longdouble) @ np.abs(right).astype(np.longdouble) + np.abs(added)
    assert found.shape == exact.shape
    assert (np.abs(found - exact) <= (left.shape[1] + 2) * np.finfo(found.dtype).eps * scale).all()


# -- product -----------------------------------------------------------------------------------------------------------


@given(cases())
def test_a_product_is_right_and_stays_within_c(case: ProductCase) -> None:
    cells = case.cells()
    inputs = [array.copy() for array in (case.a, case.packed)]
    out = case.run()
    assert_near(out[cells], case.left, case.right, case.added)
    outside = np.ones(len(out), bool)
    outside[cells] = False
    assert out[outside].tobytes() == case.c[outside].tobytes()
    for array, before in zip((case.a, case.packed), inputs, strict=True):
        assert array.tobytes() == before.tobytes()


@given(cases(), st.data())
def test_a_row_has_the_same_bits_in_any_company(case: ProductCase, data: Any) -> None:
    """A batch of one, of many, in another order: what a tile holds besides does not matter."""
    count = len(case.a_rows)
    whole = case.run()[case.cells()]
    if count:
        some = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True)))
        assert case.run(some)[case.cells()[some]].tobytes() == whole[some].tobytes()
        alone = case.c.copy()
        for row in range(count):
            case.run([row], alone)
        assert alone[case.cells()].tobytes() == whole.tobytes()


@given(st.sampled_from(DTYPES), st.integers(1, 200), st.integers(1, 30), st.integers(0, 2**30), st.data())
def test_a_column_has_the_same_bits_in_any_company(dtype: Any, columns: int, depth: int, seed: int, data: Any) -> None:
    """A part of the columns of B, packed by itself, gives that part of C: so threads may share them."""
    rng = np.random.default_rng(seed)
    count = 4
    a, b = rng.normal(size=(count, depth)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
    first = data.draw(st.integers(0, columns - 1))
    last = data.draw(st.integers(first + 1, columns))

    def multiply(first: int, last: int) -> Any:
        packed = np.empty(depth * padded(last - first, dtype), dtype)
        pack(b.reshape(-1), np.arange(depth) * columns, first, depth, last - first, packed, 0)
        c = np.zeros((count, columns), dtype)
        to = (c.reshape(-1), np.arange(count) * columns, first)
        product(count, last - first, (a.reshape(-1), np.arange(count) * depth, 0, 1), (packed, 0, depth), to, (*to, 0))
        return c

    whole, part = multiply(0, columns), multiply(first, last)
    assert part[:, first:last].tobytes() == whole[:, first:last].tobytes()
    assert not part[:, :first].any()
    assert not part[:, last:].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row_and_column(dtype: Any, bad: float) -> None:
    """And it is there: a tile does not lose it."""
    rng = np.random.default_rng(4)
    count, depth, columns = 7, 5, VECTORS * lanes(dtype) + 3
    for row, k, column in ((2, 4, None), (None, 0, 1), (6, 3, columns - 1), (0, 0, 0)):
        a, b = rng.normal(size=(count, depth)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
        if row is not None:
            a[row, k] = bad
        if column is not None:
            b[k, column] = bad
        packed = np.empty(depth * padded(columns, dtype), dtype)
        pack(b.reshape(-1), np.arange(depth) * columns, 0, depth, columns, packed, 0)
        c = np.empty((count, columns), dtype)
        to = (c.reshape(-1), np.arange(count) * columns, 0)
        with np.errstate(invalid="ignore"):  # inf * 0 in a pad of the last vector, where Numba is switched off
            product(count, columns, (a.reshape(-1), np.arange(count) * depth, 0, 1), (packed, 0, depth), to, (*to, 0))
            wanted = a @ b
        assert np.array_equal(np.isnan(c), np.isnan(wanted))
        assert np.array_equal(c[~np.isfinite(c)], wanted[~np.isfinite(wanted)], equal_nan=True)
        assert np.isfinite(c).any()


# -- packing -----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(DTYPES), st.integers(1, 60), st.integers(1, 150), st.integers(0, 2**30), st.data())
def test_both_ways_of_packing_give_the_same(dtype: Any, depth: int, columns: int, seed: int, data: Any) -> None:
    """Every number of B once, in panels; zeros fill the last vector; nothing outside is written, nothing else read."""
    rng = np.random.default_rng(seed)
    b = rng.normal(size=(depth, columns)).astype(dtype)
    step, begin, packed_at = data.draw(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)))
    width = padded(columns, dtype)
    found = []
    for matrix, rows in ((b, rng.permutation(depth)), (b.T, np.arange(columns))):
        lines, length = matrix.shape
        rows = rows * (length + step)
        source = np.full(lines * (length + step) + begin + 3, np.nan, dtype)
        source[rows[:, None] + begin + np.arange(length)] = matrix
        packed = np.full(packed_at + depth * width + 6, 7, dtype)
        if matrix is b:
            pack(source, rows, begin, depth, columns, packed, packed_at)
        else:
            source[0] = source[0] if begin == 0 else 0  # it makes its zeros of the first number
            pack_transposed(source, begin, length + step, depth, columns, packed, packed_at)
        assert (packed[:packed_at] == 7).all()
        assert (packed[packed_at + depth * width :] == 7).all()
        found.append(packed[packed_at : packed_at + depth * width])
    assert found[0].tobytes() == found[1].tobytes()
    panel, place = VECTORS * lanes(dtype), 0
    for first in range(0, columns, panel):
        part = b[:, first : first + panel]
        wide = padded(part.shape[1], dtype)
        block = found[0][place : place + depth * wide].reshape(depth, wide)
        assert np.array_equal(block[:, : part.shape[1]], part)
        assert not block[:, part.shape[1] :].any()
        place += depth * wide


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_padding_is_whole_vectors(dtype: Any) -> None:
    width = lanes(dtype)
    assert [padded(n, dtype) for n in (0, 1, width, width + 1)] == [0, width, width, 2 * width]


# -- single matrices ---------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda a: np.array(a, order="C"),
    "F": lambda a: np.array(a, order="F"),
    "part": lambda a: np.pad(a, ((1, 2), (3, 1)), constant_values=np.nan)[1:-2, 3:-1],
    "reversed": lambda a: np.array(a[::-1])[::-1],
    "every other": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "read-only": lambda a: np.frombuffer(np.array(a, order="C").tobytes(), a.dtype).reshape(a.shape),
    "read-only F": lambda a: np.frombuffer(np.array(a.T, order="C").tobytes(), a.dtype).reshape(a.T.shape).T,
}


@pytest.fixture(scope="module")
def kernels() -> Any:
    return engine.get_backend("numpy", kernels="numba").kernels


@given(
    dtype=st.sampled_from(DTYPES),
    M=st.integers(0, 30),
    K=st.integers(0, 40),
    N=st.integers(0, 90),
    layouts=st.tuples(st.sampled_from(list(LAYOUTS)), st.sampled_from(list(LAYOUTS))),
    seed=st.integers(0, 2**30),
)
def test_matmul_is_right_for_any_layout(
    kernels: Any, dtype: Any, M: int, K: int, N: int, layouts: tuple[str, str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    left, right = (LAYOUTS[layout](matrix) for layout, matrix in zip(layouts, (a, b), strict=True))
    before = left.tobytes(), right.tobytes()
    found = kernels.matmul(left, right)
    assert found.dtype == dtype
    assert_near(found, a, b)
    assert (left.tobytes(), right.tobytes()) == before
    assert found.tobytes() == kernels.matmul(a, b).tobytes()  # the layout changes no bit


def test_an_empty_sum_is_zero(kernels: Any) -> None:
    for dtype in DTYPES:
        for M, N in ((3, 50), (1, 1), (0, 4), (5, 0)):
            for _ in range(3):
                assert np.array_equal(kernels.matmul(np.ones((M, 0), dtype), np.ones((0, N), dtype)), np.zeros((M, N)))
    layer = engine.Linear(3, 40, backend="numpy:numba")
    x = np.ones((0, 2, 3), np.float32)
    y, _, tape = layer.forward(x)
    layer.backward(tape, np.ones_like(y))
    assert not any(grad.any() for grad in layer.grads.values())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_of_a_batch_is_the_row_by_itself(kernels: Any, dtype: Any) -> None:
    """What a model says of one sample does not depend on the samples beside it."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(23, 37)).astype(dtype), rng.normal(size=(37, 71)).astype(dtype)
    whole = kernels.matmul(a, b)
    for row in range(23):
        assert kernels.matmul(a[row : row + 1], b).tobytes() == whole[row].tobytes()


# -- the checksum ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(0, 2**30), st.data())
def test_the_checksum_sees_every_word_and_their_order(kernels: Any, count: int, seed: int, data: Any) -> None:
    words = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)
    value = kernels.checksum([words.view(np.float32)])
    assert value == kernels.checksum([words.copy().view(np.float32)])
    place, bit = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, 31))
    edited = words.copy()
    edited[place] ^= np.uint32(1 << bit)
    assert kernels.checksum([edited.view(np.float32)]) != value
    other = data.draw(st.integers(0, count - 1))
    if words[place] != words[other]:
        swapped = words.copy()
        swapped[[place, other]] = swapped[[other, place]]
        assert kernels.checksum([swapped.view(np.float32)]) != value


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 200])
def test_the_checksum_sees_an_edit_of_any_size_anywhere(kernels: Any, dtype: Any, count: int) -> None:
    rng = np.random.default_rng(count)
    arrays = [rng.normal(size=count).astype(dtype), rng.normal(size=(3, 5)).astype(dtype)]
    value = kernels.checksum(arrays)
    for array in arrays:
        flat = array.reshape(-1)
        for place in range(flat.size):
            kept = flat[place]
            for other in (np.nextafter(kept, dtype.type(np.inf)), -kept, dtype.type(np.nan), dtype.type(0)):
                flat[place] = other
                assert kernels.checksum(arrays) != value
            flat[place] = kept
    assert kernels.checksum(arrays) == value
    assert kernels.checksum(arrays[::-1]) != value
    assert kernels.checksum([np.asfortranarray(array) for array in arrays]) == value


EDITS: dict[str, Callable[[Any], Any]] = {
    "negated": lambda a: -a,
    "doubled": lambda a: 2 * a,
    "times four": lambda a: 4 * a,
    "zeroed": lambda a: 0 * a,
    "signs dropped": np.abs,
    "reversed": lambda a: a[::-1],
    "moved on": lambda a: np.roll(a, 1),
    "moved on by 64": lambda a: np.roll(a, 64),
    "negated from 64 on": lambda a: np.concatenate([a[:64], -a[64:]]),
    "two signs, 64 apart": lambda a: np.where(np.isin(np.arange(len(a)), [3, 67]), -a, a),
    "two doubled, 64 apart": lambda a: np.where(np.isin(np.arange(len(a)), [3, 67]), 2 * a, a),
    "two signs, 32 apart": lambda a: np.where(np.isin(np.arange(len(a)), [3, 35]), -a, a),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("edit", EDITS)
def test_the_checksum_sees_what_people_do_to_weights(kernels: Any, edit: str, dtype: Any) -> None:
    """Whole arrays change at once, and regularly: no two changes undo each other."""
    for count in (128, 256, 1000, 4096):
        array = np.random.default_rng(count).normal(size=count).astype(dtype)
        edited = np.ascontiguousarray(EDITS[edit](array))
        assert kernels.checksum([edited]) != kernels.checksum([array]), count


def test_a_tape_is_stale_when_the_weights_are_negated() -> None:
    layer = engine.LSTM(32, 64, backend="numpy:numba")
    y, _, tape = layer.forward(np.ones((3, 2, 32), np.float32))
    for parameter in layer.params.values():
        parameter *= -1
    with pytest.raises(engine.EngineError, match="parameters"):
        layer.backward(tape, np.ones_like(y))


# -- Numba switched off ------------------------------------------------------------------------------------------------

UNCOMPILED = """
import sys, warnings
warnings.simplefilter("error")
import numpy as np
from test_products import everything
np.savez(sys.stdout.buffer, **everything())
"""


def everything() -> dict[str, Any]:
    """Passes of every cell, and products, small enough for plain Python."""
    found: dict[str, Any] = {}
    for number, kind in enumerate(FIVE_CELLS):
        for dtype in ("float32", "float64"):
            layer = build(kind, 5, 18 + number, 2, bidirectional=True, dtype=dtype, backend="numpy:numba")
            x, state, dy, dstate = random_arguments(layer, 4, 3, seed=number)
            for name, lengths in (("full", None), ("short", [4, 0, 2])):
                found |= {
                    f"{kind} {dtype} {name} {k}": v for k, v in passes(layer, x, state, dy, dstate, lengths).items()
                }
            found[f"{kind} {dtype} predict"] = layer.predict(x, state)[0]
    rng = np.random.default_rng(6)
    chosen = engine.get_backend("numpy", kernels="numba").kernels
    for dtype in ("float32", "float64"):
        a, b = rng.normal(size=(9, 21)).astype(dtype), rng.normal(size=(21, 67)).astype(dtype)
        found[f"matmul {dtype}"] = chosen.matmul(a, b)
        found[f"matmul {dtype} transposed"] = chosen.matmul(a, b.T.copy().T)
        found[f"checksum {dtype}"] = np.array([chosen.checksum([a, b])], np.uint64)
    return found


@needs_compiled
def test_numba_switched_off_gives_the_same_within_rounding() -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path, "BPTT_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", UNCOMPILED], env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    plain, compiled = np.load(io.BytesIO(done.stdout)), everything()
    assert set(plain) == set(compiled)
    for name, value in compiled.items():
        assert plain[name].dtype == value.dtype
        if "checksum" in name:
            assert np.array_equal(plain[name], value), name
        else:
            assert distance(plain[name], value) <= (3e-6 if value.dtype == np.float32 else 1e-14), name


def test_no_tile_is_forgotten() -> None:
    """Every size of tile that a product may ask for is there."""
    asked = {products.rows_of_tile(left) for left in range(1, 5 * ROWS)}
    assert asked == set(range(1, ROWS + 1))
    for left in range(1, 5 * ROWS):
        assert 1 <= products.rows_of_tile(left) <= min(left, ROWS)
