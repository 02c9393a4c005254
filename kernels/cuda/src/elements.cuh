// Where the values of one hidden unit lie, for every cell.  The buffers of a layer, the gate functions and what stands
// around them are written for each cell by kernels/cuda/elements.py, and follow this file.
//
// Shapes: T steps, B rows, H hidden units, G gate blocks, R of them with recurrent weights, P numbers of the hidden state
// where it is a projection; buffers as in kernels/cells.py.  Null pointers: what a call does not have.

// One element's places.  `blocks` is G, `width` the numbers of a row.
template <class Buffers> struct At {
  size_t unit, now, next, gate;  // in (B, H); in slots t and t+1 of (T+1, B, H); block 0 in (T, B, G, H)
  int t, b, j, B, width;
  bool valid;
  __device__ __forceinline__ At(const Buffers& k, int width, int blocks, int t, int b, int j)
      : t(t), b(b), j(j), B(k.B), width(width) {
    unit = (size_t)b * width + j;
    now = (size_t)t * k.B * width + unit;
    next = now + (size_t)k.B * width;
    gate = ((size_t)t * k.B + b) * blocks * width + j;
    valid = k.lengths == nullptr || t < k.lengths[b];
  }
  __device__ __forceinline__ size_t block(int q) const { return gate + (size_t)q * width; }
  // A factor of the layer's, which may have one step for all steps and one row for all rows.
  __device__ __forceinline__ real factor(const real* values, int steps, int rows) const {
    const size_t row = (steps ? (size_t)t * (rows ? B : 1) : 0) + (rows ? b : 0);
    return values[row * width + j];
  }
};

// U source + b of one gate; `row` is its block among those with recurrent weights.
template <class Buffers> __device__ __forceinline__ real hidden(const Buffers& k, real product, int row, int j) {
  return k.bias == nullptr ? product : product + k.bias[(size_t)row * k.H + j];
}
