// Gate kernels: one step each, between the products that cuBLAS does.  A thread is one hidden unit of one row.
// They serve where the recurrent weights do not fit the shared memory of the whole GPU, or where the batch is so large
// that the products are cuBLAS's own ground.

// product : (B, G*H) h[t] @ weight_hh'; for a GRU with reset before (B, 2*H), its r and z blocks.
template <class Cell> __device__ __forceinline__ void step_forward(const Forward& k, const real* product, int t) {
  const size_t n = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= (size_t)k.B * k.H) return;
  const int b = (int)(n / k.H), j = (int)(n % k.H);
  real p[Cell::COLUMNS];
  for (int q = 0; q < Cell::COLUMNS; ++q) p[q] = product[((size_t)b * Cell::COLUMNS + q) * k.H + j];
  Cell::forward(k, t, b, j, p);
}

// product : (B, H) what h[t+1] receives through step t+1's own product, da_hidden[t+1] @ weight_hh (for a GRU with
// reset before: of its r and z blocks).  t = -1 only takes that in.
template <class Cell>
__device__ __forceinline__ void step_backward(const Backward& k, const real* product, int t, int T) {
  const size_t n = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= (size_t)k.B * k.H) return;
  const int b = (int)(n / k.H), j = (int)(n % k.H);
  if (t + 1 < T) Cell::absorb(k, t + 1, b, j, product[n]);
  if (t >= 0) Cell::backward(k, t, b, j);
}

#define DEFINE(cell)                                                                                                \
  extern "C" __global__ void cell##_step_forward(const real* pre, const real* bias, real* h, real* c, real* gates,  \
                                                 real* hidden_n, real* reset_h, const int* lengths, int B, int H,   \
                                                 const real* product, int t) {                                      \
    const Forward k = {pre, bias, h, c, gates, hidden_n, reset_h, lengths, B, H};                                   \
    step_forward<cell>(k, product, t);                                                                              \
  }                                                                                                                 \
  EXPORT_KERNEL(cell##_step_forward)                                                                                \
  extern "C" __global__ void cell##_step_backward(                                                                  \
      const real* h, const real* c, const real* gates, const real* hidden_n, const real* dy, real* da,              \
      real* da_hidden, real* dh, real* dc, real* dh_all, real* dc_all, const int* lengths, int B, int H,            \
      const real* product, int t, int T) {                                                                          \
    const Backward k = {h, c, gates, hidden_n, dy, da, da_hidden, dh, dc, dh_all, dc_all, lengths, B, H};           \
    step_backward<cell>(k, product, t, T);                                                                          \
  }                                                                                                                 \
  EXPORT_KERNEL(cell##_step_backward)

FOR_ALL_CELLS(DEFINE)

// The second halves of a step of the GRU with reset before.  product : (B, H) reset_h @ U_n'.
extern "C" __global__ void gru_before_step_output(const real* pre, const real* bias, real* h, real* c, real* gates,
                                                  real* hidden_n, real* reset_h, const int* lengths, int B, int H,
                                                  const real* product, int t) {
  const Forward k = {pre, bias, h, c, gates, hidden_n, reset_h, lengths, B, H};
  const size_t n = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (n < (size_t)B * H) gru_before::output(k, t, (int)(n / H), (int)(n % H), product + n);
}
EXPORT_KERNEL(gru_before_step_output)

// product : (B, H) dreset_h = da_n @ U_n.
extern "C" __global__ void gru_before_step_reset(const real* h, const real* c, const real* gates, const real* hidden_n,
                                                 const real* dy, real* da, real* da_hidden, real* dh, real* dc,
                                                 real* dh_all, real* dc_all, const int* lengths, int B, int H,
                                                 const real* product, int t) {
  const Backward k = {h, c, gates, hidden_n, dy, da, da_hidden, dh, dc, dh_all, dc_all, lengths, B, H};
  const size_t n = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (n < (size_t)B * H) gru_before::reset_backward(k, t, (int)(n / H), (int)(n % H), product[n]);
}
EXPORT_KERNEL(gru_before_step_reset)
