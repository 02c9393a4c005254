// Gate kernels: one part of a step each, between the products that cuBLAS does.  A thread is one hidden unit of one row.
// They serve where the recurrent weights do not fit the shared memory of the whole GPU, where the batch is so large that
// the products are cuBLAS's own ground, and for cells whose products the kernels of a whole sequence do not know.

// Calls work(b, j, n) for this thread's number of (B, width).
template <class Work> __device__ __forceinline__ void for_one(int B, int width, const Work& work) {
  const size_t n = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= (size_t)B * width) return;
  work((int)(n / width), (int)(n % width), n);
}

// Forward, product : (B, COLUMNS*WIDTH) what the weights make of the part's source; null where it has none.
// Backward, product : (B, WIDTH) what the source of the part after this one received through its product, or null.
// late : (B, WIDTH) what a state received through the products of the step after this one; null but for the part that a
// step backward comes to first.  t = -1 only takes that in.
#define PART(cell, N, WIDTH)                                                                                         \
  extern "C" __global__ void cell##_step_forward_##N(FORWARD_PARAMETERS, const real* product, int t) {               \
    const Forward k = {FORWARD_FIELDS};                                                                              \
    for_one(B, WIDTH, [&](int b, int j, size_t) {                                                                    \
      real p[Cell::COLUMNS_##N + 1];                                                                                 \
      for (int q = 0; q < Cell::COLUMNS_##N; ++q) p[q] = product[((size_t)b * Cell::COLUMNS_##N + q) * WIDTH + j];   \
      Cell::forward_##N(k, t, b, j, p);                                                                              \
    });                                                                                                              \
  }                                                                                                                  \
  EXPORT_KERNEL(cell##_step_forward_##N)                                                                             \
  extern "C" __global__ void cell##_step_backward_##N(BACKWARD_PARAMETERS, const real* product, const real* late,    \
                                                      int t, int T) {                                                \
    const Backward k = {BACKWARD_FIELDS};                                                                            \
    for_one(B, WIDTH, [&](int b, int j, size_t n) {                                                                  \
      if (late != nullptr && t + 1 < T) Cell::absorb_##WIDTH(k, t + 1, b, j, late[n]);                               \
      if (t >= 0) Cell::backward_##N(k, t, b, j, product == nullptr ? real(0) : product[n]);                         \
    });                                                                                                              \
  }                                                                                                                  \
  EXPORT_KERNEL(cell##_step_backward_##N)
