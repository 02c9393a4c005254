// What every kernel file begins with: the number type, 16-byte vectors, the activations.
//
// One source, two compilers: NVRTC (or nvcc) for the GPU, and g++ with a host simulator for the tests, which defines
// the names below and CUDA's own names first.  REAL is float or double.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#define EXPORT_KERNEL(name)
#define PREFETCH_L2(pointer) asm volatile("prefetch.global.L2 [%0];" ::"l"(pointer))
__device__ __forceinline__ unsigned read_volatile(const unsigned* p) { return *(const volatile unsigned*)p; }
#endif

typedef REAL real;

// Shared memory is read 16 bytes at a time: four floats or two doubles.
template <class R> struct VectorOf;
template <> struct VectorOf<float> { typedef float4 type; };
template <> struct VectorOf<double> { typedef double2 type; };
typedef VectorOf<real>::type vec;
const int VEC = sizeof(vec) / sizeof(real);

__device__ __forceinline__ void set_zero(real& x) { x = 0; }
__device__ __forceinline__ void set_zero(float4& v) { v.x = v.y = v.z = v.w = 0.0f; }
__device__ __forceinline__ void set_zero(double2& v) { v.x = v.y = 0.0; }
__device__ __forceinline__ float multiply_add(const float4& a, const float4& b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}
__device__ __forceinline__ double multiply_add(const double2& a, const double2& b, double sum) {
  return fma(a.y, b.y, fma(a.x, b.x, sum));
}

// A row of `length` numbers takes this many in shared memory: whole vectors, and an odd number of them, so that
// neighbouring rows start in different banks (the 32 banks of 4 bytes are 8 vectors wide).
__device__ __forceinline__ int padded(int length) { return (((length + VEC - 1) / VEC) | 1) * VEC; }

// The same for a row of weights.  Eight threads read at a time, 16 bytes each: `lanes` rows (product.cuh), or with fewer
// than eight lanes a few neighbouring vectors of each.  Their distance is such that the pieces lie side by side.
__device__ __forceinline__ int weight_stride(int length, int lanes) {
  const int vectors = (length + VEC - 1) / VEC;
  if (lanes == 1 || lanes > 4) return padded(length);
  const int wanted = lanes == 2 ? 4 : lanes == 3 ? 3 : 2;  // modulo 8
  return (vectors + ((wanted - vectors) & 7)) * VEC;
}

// -- activations (kernels/activations.py) ------------------------------------------------------------------------------

__device__ __forceinline__ float exp_real(float x) { return expf(x); }
__device__ __forceinline__ double exp_real(double x) { return exp(x); }
__device__ __forceinline__ float tanh_real(float x) { return tanhf(x); }
__device__ __forceinline__ double tanh_real(double x) { return tanh(x); }
__device__ __forceinline__ float log_real(float x) { return logf(x); }
__device__ __forceinline__ double log_real(double x) { return log(x); }
__device__ __forceinline__ real maximum_real(real a, real b) { return a >= b ? a : b; }

// exp(-|x|) cannot overflow, and e / (1 + e) keeps relative accuracy for negative x: sigmoid(-40) is 4.2e-18.
__device__ __forceinline__ real sigmoid_real(real x) {
  const real e = exp_real(x < 0 ? x : -x);
  return (x < 0 ? e : real(1)) / (real(1) + e);
}

// Asks "is it at most 0?" so that a NaN answers no and stays visible.
__device__ __forceinline__ real relu_real(real x) { return x <= 0 ? real(0) : x; }

// act'(a) from h = act(a).
__device__ __forceinline__ real tanh_slope(real h, real one) { return one - h * h; }
__device__ __forceinline__ real relu_slope(real h, real one) { return one * real(h > 0); }
