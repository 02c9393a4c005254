// The whole forward sequence in one launch.
//
// grid = (1, groups, slices): block (g, s) owns the hidden units [s*units, (s+1)*units) and the batch rows [g*rows,
// (g+1)*rows).  All gates of a unit lie in the same block, and in the same thread: after the product the gate
// functions need no exchange, and c never leaves its thread.  What the blocks of a group exchange is the products'
// sources, B*H numbers each, through L2; blocks of different groups never wait for each other.  (The grid's first axis stays 1 because CuPy
// shrinks a cooperative grid that has only a first one, where it does not fit, with no more than a warning; any other
// it refuses.  The planner never makes one that does not fit.)
//
// One step of a cell with one product:         with two, such as the GRU with reset before:
//   gates, h[t+1] from h[t]                      r, z from h[t]     -> reset_h[t]
//   barrier                                      barrier
//                                                n from reset_h[t]  -> h[t+1]
//                                                barrier

// weights : shared (G*units, stride); row q*units + u holds weight_hh[q*H + first + u, :], 0 past its end.
__device__ __forceinline__ void load_rows(real* weights, const real* weight_hh, int H, int units, int stride) {
  const int first = blockIdx.z * units;
  for (int e = threadIdx.x; e < Cell::G * units * stride; e += blockDim.x) {
    const int row = e / stride, k = e % stride, q = row / units, j = first + row % units;
    weights[e] = j < H && k < H ? weight_hh[((size_t)q * H + j) * H + k] : real(0);
  }
}

// A product of GATES gates for all rows of the group, and work(b, j, product) with it for each row and unit.
// source : of row 0 of the step, `pitch` numbers a row.
template <int GATES, int RT, class Work>
__device__ __forceinline__ void run_stage(const Box& box, const real* weights, int stride, real* tile,
                                          const real* source, int pitch, int H, int units, int first_row, int end_row,
                                          const Work& work) {
  const int COLS = GATES * Cell::UNITS;
  for (int b0 = first_row; b0 < end_row; b0 += box.teams * RT) {
    multiply<COLS, RT>(box, weights, stride, source + (size_t)b0 * pitch, pitch, H, end_row - b0, tile);
    for_own<RT, Cell::UNITS>(box, end_row - b0, [&](int row, int unit, int cell, int r, int m) {
      const int j = blockIdx.z * units + unit;
      if (j >= H) return;
      real product[GATES];
#pragma unroll
      for (int q = 0; q < GATES; ++q) product[q] = total<COLS>(box, tile, cell, r, q * Cell::UNITS + m);
      work(b0 + row, j, product);
    });
  }
}

template <int RT>
__device__ __forceinline__ void run_forward(const Forward& k, const real* weight_hh, unsigned* tickets, int T, int units,
                                            int rows, const Box& box) {
  DYNAMIC_SHARED(vec, memory);
  const int stride = weight_stride(k.H, box.lanes);
  real* weights = (real*)memory;
  real* tile = weights + (size_t)Cell::G * units * stride;
  unsigned* ticket = tickets + 32 * blockIdx.y;  // a cache line for each group
  const int first_row = blockIdx.y * rows, end_row = first_row + rows < k.B ? first_row + rows : k.B;
  load_rows(weights, weight_hh, k.H, units, stride);

  for (int t = 0; t < T; ++t) {
    run_stage<Cell::COLUMNS_0, RT>(box, weights, stride, tile, Cell::operand_0(k, t), Cell::pitch_0(k), k.H, units,
                                   first_row, end_row, [&](int b, int j, const real* product) {
                                     Cell::forward_0(k, t, b, j, product);
                                     // the next step's input projection comes from far: send for it now
                                     if (t + 1 < T)
                                       for (int q = 0; q < Cell::G; ++q)
                                         PREFETCH_L2(k.pre + (((size_t)(t + 1) * k.B + b) * Cell::G + q) * k.H + j);
                                   });
#if STAGES == 2
    group_barrier(ticket, gridDim.z);  // the source of the second product is complete
    run_stage<Cell::COLUMNS_1, RT>(
        box, weights + (size_t)Cell::COLUMNS_0 * units * stride, stride, tile, Cell::operand_1(k, t),
        Cell::pitch_1(k), k.H, units, first_row, end_row,
        [&](int b, int j, const real* product) { Cell::forward_1(k, t, b, j, product); });
#endif
    group_barrier(ticket, gridDim.z);  // h[t+1] is complete
  }
}

#define ROWS_OF_A_THREAD(cell, RT)                                                                                    \
  extern "C" __global__ void __launch_bounds__(512, 1) cell##_forward_##RT(                                           \
      FORWARD_PARAMETERS, const real* weight_hh, unsigned* tickets, int T, int units, int rows, int parts, int teams, \
      int lanes, int tile) {                                                                                          \
    const Forward k = {FORWARD_FIELDS};                                                                               \
    const Box box = {parts, teams, lanes, tile};                                                                      \
    run_forward<RT>(k, weight_hh, tickets, T, units, rows, box);                                                      \
  }                                                                                                                   \
  EXPORT_KERNEL(cell##_forward_##RT)
