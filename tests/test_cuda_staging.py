"""How rows are copied to shared memory: each element once, whatever the number of threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cuda_sim.hostkernel import HostKernel, build

from kernels.cuda import modules

pytestmark = pytest.mark.device

PROBE = """
extern "C" __global__ void probe(const real* source, real* out, int pitch, int depth, int rows, int passing) {
  DYNAMIC_SHARED(vec, memory);
  real* tile = (real*)memory;
  stage(tile, source, pitch, depth, rows, passing);
  __syncthreads();
  const int span = (depth + VEC - 1) / VEC * VEC;
  for (int e = threadIdx.x; e < rows * span; e += blockDim.x) out[e] = tile[e / span * padded(depth) + e % span];
}
EXPORT_KERNEL(probe)
"""
OPTIONS = modules.options("float32")
CODE = "\n".join([modules.text("prelude.cuh"), modules.text("product.cuh"), PROBE])


def staged(code: str, seed: int, threads: int, source: np.ndarray, depth: int, rows: int) -> np.ndarray:
    """The tile after one launch; of its `rows` those that `source` has are there."""
    span = -(-depth // 4) * 4
    out = np.empty((rows, span), np.float32)
    sizes = map(np.int32, (source.shape[1], depth, rows, len(source)))
    HostKernel(build(code, OPTIONS), "probe", seed)(
        (1,), (threads,), (source, out, *sizes), shared_mem=rows * (span + 4) * 4
    )
    return out


@pytest.mark.parametrize(("pitch", "depth"), [(8, 8), (20, 8), (9, 7), (60, 52)])
@pytest.mark.parametrize(("rows", "passing"), [(1, 1), (2, 1), (3, 3), (7, 5)])
def test_every_element_once(rows: int, passing: int, pitch: int, depth: int) -> None:
    source = np.random.default_rng(0).standard_normal((passing, pitch)).astype("float32")
    wanted = np.zeros((rows, -(-depth // 4) * 4), np.float32)
    wanted[:passing, :depth] = source[:, :depth]
    for threads, seed in itertools.product((1, 5, 32, 45, 70, 128), (0, 1, 2)):
        found = staged(CODE, seed, threads, source, depth, rows)
        np.testing.assert_array_equal(found, wanted, err_msg=f"{threads} threads, seed {seed}")


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("first < at_once ? first : rows", "first", "two writes"),  # 45 threads: 13 are too few for a row
        ("row < passing && ", "", "outside every array"),
        ("if (k + i * across < span) to", "to", "two writes|outside every array"),
        ("k += BATCH * across", "k += (BATCH + 1) * across", "nobody wrote"),
    ],
)
def test_a_planted_bug_is_caught(good: str, bad: str, words: str) -> None:
    assert CODE.count(good) == 1
    source = np.ones((2, 700), np.float32)
    assert staged(CODE, 0, 45, source, 700, 3).sum() == 1400
    with pytest.raises(RuntimeError, match=words):
        staged(CODE.replace(good, bad), 0, 45, source, 700, 3)
