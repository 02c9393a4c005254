// The heart of the persistent kernels: a product whose weights never leave shared memory.
//
//     out[row, column] = sum over k of source[row, k] * weights[column, k]
//
// A block owns a slice of the columns for all T steps, and a group of batch rows.  Its weights, read from memory once,
// stay in shared memory; what changes at each step is `source` (the hidden state, or the gradients), written by all
// blocks of the group at the step before.  It is staged through shared memory, `tile` numbers of each row at a time,
// coalesced; with room enough the tile is the whole row, and a step has one such wait.
//
// The block's threads form a box of (parts, teams, lanes):
//
//   lane   owns COLS columns   lane, lane + lanes, ...        a warp's weight loads lie in neighbouring rows: no conflict
//   team   owns RT rows        team, team + teams, ...        likewise; all lanes of a team read the same vector
//   part   owns every `parts`-th vector of k                  their sums meet in shared memory at the end
//
// so each thread keeps RT x COLS sums in registers: RT + COLS vector loads feed RT * COLS * VEC multiply-adds (for RT =
// COLS = 4 in float32: 8 loads, 64 multiply-adds).
//
// Four barriers a tile and product, each of them needed (a test deletes every one of them in turn).  `source` is read
// by __ldcg, from L2: other blocks wrote it in this launch, and this SM's L1 may hold what lay there before.  For the
// same reason it is no `const __restrict__`, which would let the compiler read it through the non-coherent path.

struct Box {
  int parts, teams, lanes;  // blockDim.x = parts * teams * lanes
  int tile;                 // numbers of a row staged at once, a multiple of VEC
  __device__ __forceinline__ int threads_of_a_part() const { return teams * lanes; }
};

// Copies rows [0, passing) of source, `depth` elements of each, to shared memory, `span` elements a row; what is missing
// becomes 0.  E is a number, or a vector of them.  Four loads are on their way before the first is stored: for all the
// compiler knows, the store might change what the next load reads, and it would wait for each in turn.  `across`
// threads walk along a row: a warp, or more where there are fewer rows than warps.  (To divide every element's number
// by `span` would be simpler, and cost as many instructions as the multiplications.)
template <class E>
__device__ __forceinline__ void stage_as(E* tile, int width, const E* source, int pitch, int depth, int span, int rows,
                                         int passing) {
  const int BATCH = 4, threads = blockDim.x, warp = threads < 32 ? threads : 32;
  const int across = rows * warp < threads ? threads / rows : warp, at_once = threads / across;
  const int begin = threadIdx.x % across, first = threadIdx.x / across;
  // a rest of the threads, too few for a row, does nothing
  for (int row = first < at_once ? first : rows; row < rows; row += at_once) {
    const E* from = source + (size_t)row * pitch;
    E* to = tile + (size_t)row * width;
    for (int k = begin; k < span; k += BATCH * across) {
      E values[BATCH];
#pragma unroll
      for (int i = 0; i < BATCH; ++i) {
        set_zero(values[i]);
        if (row < passing && k + i * across < depth) values[i] = __ldcg(from + k + i * across);
      }
#pragma unroll
      for (int i = 0; i < BATCH; ++i)
        if (k + i * across < span) to[k + i * across] = values[i];
    }
  }
}

__device__ __forceinline__ void stage(real* tile, const real* source, int pitch, int depth, int rows, int passing) {
  const int width = padded(depth), vectors = (depth + VEC - 1) / VEC;
  if (pitch % VEC == 0 && depth % VEC == 0 && (size_t)source % sizeof(vec) == 0)  // every row starts on 16 bytes
    stage_as((vec*)tile, width / VEC, (const vec*)source, pitch / VEC, vectors, vectors, rows, passing);
  else
    stage_as(tile, width, source, pitch, depth, vectors * VEC, rows, passing);
}

// Leaves the parts' sums in `tile`, to be read with `total`.
//
// weights : shared, `stride` numbers a row; columns are rows here, the numbers past `length` are 0.
// source : (passing, length) with `pitch` numbers a row.
// tile : shared, room for teams*RT rows of the tile, and for RT*COLS sums of every thread.
template <int COLS, int RT>
__device__ __forceinline__ void multiply(const Box& box, const real* weights, int stride, const real* source, int pitch,
                                         int length, int passing, real* tile) {
  const int lane = threadIdx.x % box.lanes;
  const int team = threadIdx.x / box.lanes % box.teams;
  const int part = threadIdx.x / box.threads_of_a_part();
  real sum[RT][COLS];
#pragma unroll
  for (int r = 0; r < RT; ++r)
#pragma unroll
    for (int q = 0; q < COLS; ++q) sum[r][q] = 0;

  for (int k0 = 0; k0 < length; k0 += box.tile) {
    const int depth = length - k0 < box.tile ? length - k0 : box.tile;
    const int width = padded(depth), vectors = (depth + VEC - 1) / VEC;
    __syncthreads();  // the tile's last readers are done with it; and group_barrier's thread 0 is back
    stage(tile, source + k0, pitch, depth, box.teams * RT, passing);
    __syncthreads();  // the tile is complete (and, the first time, the weights)
    for (int v = part; v < vectors; v += box.parts) {
      vec weight[COLS];
#pragma unroll
      for (int q = 0; q < COLS; ++q)
        weight[q] = ((const vec*)(weights + (size_t)(q * box.lanes + lane) * stride + k0))[v];
#pragma unroll
      for (int r = 0; r < RT; ++r) {
        const vec x = ((const vec*)(tile + (size_t)(r * box.teams + team) * width))[v];
#pragma unroll
        for (int q = 0; q < COLS; ++q) sum[r][q] = multiply_add(x, weight[q], sum[r][q]);
      }
    }
  }
  __syncthreads();  // all have read the last tile: its place now takes the sums
#pragma unroll
  for (int r = 0; r < RT; ++r)
#pragma unroll
    for (int q = 0; q < COLS; ++q) tile[(size_t)(r * COLS + q) * blockDim.x + threadIdx.x] = sum[r][q];
  __syncthreads();  // the sums are complete
}

// The product's element that `lane` of `team` holds as its row r and column q: the sum over the parts.
template <int COLS> __device__ __forceinline__ real total(const Box& box, const real* sums, int cell, int r, int q) {
  const real* first = sums + (size_t)(r * COLS + q) * blockDim.x + cell;
  real sum = first[0];
  for (int part = 1; part < box.parts; ++part) sum += first[part * box.threads_of_a_part()];
  return sum;
}

// Calls work(row, unit, cell, r, m) for this thread's share of the pairs of a row and a unit of one pass: teams*RT rows,
// of which `passing` exist, and SPREAD * lanes units, unit = m * lanes + lane.  A pair falls to the same thread at every
// step, in every phase: what one thread writes of its own pair, it may read again without a barrier.
template <int RT, int SPREAD, class Work>
__device__ __forceinline__ void for_own(const Box& box, int passing, const Work& work) {
  const int cells = box.threads_of_a_part();
  for (int e = threadIdx.x; e < cells * RT * SPREAD; e += blockDim.x) {
    const int cell = e % cells, r = e / cells % RT, m = e / cells / RT;
    const int row = r * box.teams + cell / box.lanes;
    if (row < passing) work(row, m * box.lanes + cell % box.lanes, cell, r, m);
  }
}
