// The whole backward sequence in one launch.
//
// grid = (1, groups, slices), as in forward.cu; a block owns `units` hidden units, that is, `units` columns of weight_hh,
// kept in shared memory for all T steps:
//
//     dh_prev[row, j] = sum over m of da_hidden[t, row, m] * weight_hh[m, j],   m over all G*H gate rows
//
// One step of a cell with one product:         with two, such as the GRU with reset before:
//   da of own units                              da_z, da_n of own units
//   barrier                                      barrier
//   dh_prev of own units += the product          dreset_h = U_n' da_n -> da_r
//                                                barrier
//                                                dh_prev of own units += U_r' da_r + U_z' da_z
// No barrier at the end of a step: the next one writes other slots of da, and its own dh.  dh and dc of a unit belong
// to one thread throughout (product.cuh, for_own), in the arrays that hold dh0 and dc0 at last.

// Columns that a thread of the product owns: neighbours in k are G*H apart in memory, so nothing but the size of the
// register tile speaks for or against 4.
const int COLUMNS_OF_A_THREAD = 4;
#if STAGES == 2
#define LAST_STAGE Cell::backward_1
#else
#define LAST_STAGE Cell::backward_0
#endif

// weights : shared (units, stride); row u holds weight_hh[from:to, first + u], beginning at `offset`, then zeros.
__device__ __forceinline__ void load_columns(real* weights, const real* weight_hh, int H, int units, int stride,
                                             int offset, int from, int to) {
  const int first = blockIdx.z * units, span = (to - from + VEC - 1) / VEC * VEC;
  for (int e = threadIdx.x; e < units * span; e += blockDim.x) {
    const int u = e % units, m = e / units, j = first + u;  // neighbouring threads read neighbouring columns
    weights[(size_t)u * stride + offset + m] = j < H && m < to - from ? weight_hh[(size_t)(from + m) * H + j] : real(0);
  }
}

template <int RT, class Work>
__device__ __forceinline__ void for_own_units(const Box& box, int passing, int units, int H, const Work& work) {
  for_own<RT, COLUMNS_OF_A_THREAD>(box, passing, [&](int row, int unit, int cell, int r, int m) {
    const int j = blockIdx.z * units + unit;
    if (j < H) work(row, j, cell, r, m);
  });
}

// The product of `length` gate rows from `from` on for all rows of the group, and work(b, j, product) for each row and
// unit.
template <int RT, class Work>
__device__ __forceinline__ void run_product(const Backward& k, const Box& box, const real* weights, int stride,
                                            real* tile, int t, int from, int length, int units, int first_row,
                                            int end_row, const Work& work) {
  const int pitch = Cell::G * k.H;
  for (int b0 = first_row; b0 < end_row; b0 += box.teams * RT) {
    multiply<COLUMNS_OF_A_THREAD, RT>(box, weights, stride, k.da_hidden + ((size_t)t * k.B + b0) * pitch + from, pitch,
                                      length, end_row - b0, tile);
    for_own_units<RT>(box, end_row - b0, units, k.H, [&](int row, int j, int cell, int r, int m) {
      work(b0 + row, j, total<COLUMNS_OF_A_THREAD>(box, tile, cell, r, m));
    });
  }
}

template <int RT>
__device__ __forceinline__ void run_backward(const Backward& k, const real* weight_hh, unsigned* tickets, int T,
                                             int units, int rows, const Box& box) {
  DYNAMIC_SHARED(vec, memory);
  // The gate rows of the first stage come after those of the second, where there is one.
  const int length = Cell::COLUMNS_0 * k.H, rest = Cell::G * k.H - length;
  const int offset = (rest + VEC - 1) / VEC * VEC, stride = weight_stride(offset + length, box.lanes);
  real* weights = (real*)memory;
  real* tile = weights + (size_t)units * stride;
  unsigned* ticket = tickets + 32 * blockIdx.y;  // a cache line for each group
  const int first_row = blockIdx.y * rows, end_row = first_row + rows < k.B ? first_row + rows : k.B;
  load_columns(weights, weight_hh, k.H, units, stride, offset, 0, length);
  if (rest > 0) load_columns(weights, weight_hh, k.H, units, stride, 0, length, length + rest);

  for (int t = T - 1; t >= 0; --t) {
    for (int b0 = first_row; b0 < end_row; b0 += box.teams * RT)
      for_own_units<RT>(box, end_row - b0, units, k.H, [&](int row, int j, int, int, int) {
        LAST_STAGE(k, t, b0 + row, j, 0);
        // the gates of the step before come from far: send for them now
        if (t > 0)
          for (int q = 0; q < Cell::G; ++q)
            PREFETCH_L2(k.gates + (((size_t)(t - 1) * k.B + b0 + row) * Cell::G + q) * k.H + j);
      });
    group_barrier(ticket, gridDim.z);  // da of the last stage is complete
#if STAGES == 2
    run_product<RT>(k, box, weights, stride, tile, t, length, rest, units, first_row, end_row,
                    [&](int b, int j, real product) { Cell::backward_0(k, t, b, j, product); });
    group_barrier(ticket, gridDim.z);  // da of the first stage is complete
#endif
    run_product<RT>(k, box, weights + offset, stride, tile, t, 0, length, units, first_row, end_row,
                    [&](int b, int j, real product) { Cell::absorb_H(k, t, b, j, product); });
  }
}

#define ROWS_OF_A_THREAD(cell, RT)                                                                                    \
  extern "C" __global__ void __launch_bounds__(512, 1) cell##_backward_##RT(                                          \
      BACKWARD_PARAMETERS, const real* weight_hh, unsigned* tickets, int T, int units, int rows, int parts,           \
      int teams, int lanes, int tile) {                                                                               \
    const Backward k = {BACKWARD_FIELDS};                                                                             \
    const Box box = {parts, teams, lanes, tile};                                                                      \
    run_backward<RT>(k, weight_hh, tickets, T, units, rows, box);                                                     \
  }                                                                                                                   \
  EXPORT_KERNEL(cell##_backward_##RT)
