// The whole forward sequence in one launch.
//
// grid = (1, groups, slices): block (g, s) owns the hidden units [s*units, (s+1)*units) and the batch rows [g*rows,
// (g+1)*rows).  All gates of a unit lie in the same block, and in the same thread: after the product the gate
// functions need no exchange, and c never leaves its thread.  What the blocks of a group exchange is h, B*H numbers a
// step, through L2; blocks of different groups never wait for each other.  (The grid's first axis stays 1 because CuPy
// shrinks a cooperative grid that has only a first one, where it does not fit, with no more than a warning; any other
// it refuses.  The planner never makes one that does not fit.)
//
// One step, GRU with reset before:             all other cells:
//   r, z from h[t]     -> reset_h                gates, h[t+1] from h[t]
//   barrier                                      barrier
//   n from reset_h     -> h[t+1]
//   barrier
// reset_h needs one slot only: it is overwritten after the barrier that follows its last reading.

// weights : shared (G*units, stride); row q*units + u holds weight_hh[q*H + first + u, :], 0 past its end.
template <class Cell>
__device__ __forceinline__ void load_rows(real* weights, const real* weight_hh, int H, int units, int stride) {
  const int first = blockIdx.z * units;
  for (int e = threadIdx.x; e < Cell::G * units * stride; e += blockDim.x) {
    const int row = e / stride, k = e % stride, q = row / units, j = first + row % units;
    weights[e] = j < H && k < H ? weight_hh[((size_t)q * H + j) * H + k] : real(0);
  }
}

template <class Cell, int RT, bool TWO> struct SecondProduct {  // only one cell has it
  static __device__ __forceinline__ void run(const Forward&, const Box&, const real*, int, real*, int, int, int, int) {}
};

template <class Cell, int RT> struct SecondProduct<Cell, RT, true> {
  static __device__ __forceinline__ void run(const Forward& k, const Box& box, const real* weights, int stride,
                                             real* tile, int t, int first_row, int end_row, int units) {
    const int q0 = Cell::COLUMNS;  // the block of n
    for (int b0 = first_row; b0 < end_row; b0 += box.teams * RT) {
      multiply<1, RT>(box, weights + (size_t)q0 * units * stride, stride, k.reset_h + (size_t)b0 * k.H, k.H, k.H,
                      end_row - b0, tile);
      for_own<RT, 1>(box, end_row - b0, [&](int row, int unit, int cell, int r, int) {
        const int j = blockIdx.z * units + unit;
        const real product = total<1>(box, tile, cell, r, 0);
        if (j < k.H) Cell::output(k, t, b0 + row, j, &product);
      });
    }
  }
};

template <class Cell, int RT>
__device__ __forceinline__ void run_forward(const Forward& k, const real* weight_hh, unsigned* tickets, int T, int units,
                                            int rows, const Box& box) {
  DYNAMIC_SHARED(vec, memory);
  const int COLS = Cell::COLUMNS * Cell::UNITS, stride = weight_stride(k.H, box.lanes);
  real* weights = (real*)memory;
  real* tile = weights + (size_t)Cell::G * units * stride;
  unsigned* ticket = tickets + 32 * blockIdx.y;  // a cache line for each group
  const int first_row = blockIdx.y * rows, end_row = first_row + rows < k.B ? first_row + rows : k.B;
  load_rows<Cell>(weights, weight_hh, k.H, units, stride);

  for (int t = 0; t < T; ++t) {
    for (int b0 = first_row; b0 < end_row; b0 += box.teams * RT) {
      multiply<COLS, RT>(box, weights, stride, k.h + ((size_t)t * k.B + b0) * k.H, k.H, k.H, end_row - b0, tile);
      for_own<RT, Cell::UNITS>(box, end_row - b0, [&](int row, int unit, int cell, int r, int m) {
        const int j = blockIdx.z * units + unit;
        if (j >= k.H) return;
        real product[Cell::COLUMNS];
#pragma unroll
        for (int q = 0; q < Cell::COLUMNS; ++q) product[q] = total<COLS>(box, tile, cell, r, q * Cell::UNITS + m);
        Cell::forward(k, t, b0 + row, j, product);
        // the next step's input projection comes from far: send for it now
        if (t + 1 < T)
          for (int q = 0; q < Cell::G; ++q)
            PREFETCH_L2(k.pre + (((size_t)(t + 1) * k.B + b0 + row) * Cell::G + q) * k.H + j);
      });
    }
    if (Cell::TWO_PRODUCTS) {
      group_barrier(ticket, gridDim.z);  // reset_h is complete
      SecondProduct<Cell, RT, Cell::TWO_PRODUCTS>::run(k, box, weights, stride, tile, t, first_row, end_row, units);
    }
    group_barrier(ticket, gridDim.z);  // h[t+1] is complete
  }
}

#define DEFINE_ROWS(cell, RT)                                                                                         \
  extern "C" __global__ void __launch_bounds__(512, 1) cell##_forward_##RT(                                           \
      const real* pre, const real* bias, real* h, real* c, real* gates, real* hidden_n, real* reset_h,                \
      const int* lengths, int B, int H, const real* weight_hh, unsigned* tickets, int T, int units, int rows,         \
      int parts, int teams, int lanes, int tile) {                                                                    \
    const Forward k = {pre, bias, h, c, gates, hidden_n, reset_h, lengths, B, H};                                     \
    const Box box = {parts, teams, lanes, tile};                                                                      \
    run_forward<cell, RT>(k, weight_hh, tickets, T, units, rows, box);                                                \
  }                                                                                                                   \
  EXPORT_KERNEL(cell##_forward_##RT)

FOR_ALL_CELLS(DEFINE)
