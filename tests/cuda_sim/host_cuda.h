// CUDA C++ as g++ sees it: what a kernel file needs of CUDA's names, for tests without a GPU.  Put before the source by
// hostkernel.py; what happens behind these names is in host_cuda.cpp.
//
// A CUDA thread is a fibre.  Every access to memory that the compiler emits in a kernel is reported to the simulator
// (-fsanitize=thread inserts the calls), which knows the arrays of the launch and the order that barriers, fences and
// atomics make.  So it finds a race, a read of what nobody wrote, an access outside every array and a plain load of
// what another block wrote, in whatever order the threads happened to run.
#pragma once
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct float4 { float x, y, z, w; };
struct double2 { double x, y; };

namespace host_cuda {
// A launch: sizes, the kernel as a function of its argument pointers, and the arrays that it may touch.
struct Array { char* data; size_t bytes; };
struct Launch {
  dim3 grid, block;
  size_t shared_bytes;
  int cooperative, check;
  unsigned seed;
  const Array* arrays;
  int array_count;
  void (*run)(void** arguments);
  void** arguments;
};
const char* launch(const Launch&);  // null, or what went wrong
dim3 thread_index(), block_index(), block_size(), grid_size();
void* shared_memory();
void block_barrier();
void fence();
unsigned atomic_add(unsigned*, unsigned);
unsigned volatile_read(const unsigned*);
void note_cached_read(const void*, size_t);  // a load that goes to L2

template <class T> __attribute__((no_sanitize("thread"))) T load_from_l2(const T* p) {
  note_cached_read(p, sizeof(T));
  return *p;
}

template <auto kernel, class... A, size_t... I>
__attribute__((no_sanitize("thread"))) void spread(void (*)(A...), void** a, std::index_sequence<I...>) {
  kernel(*static_cast<std::decay_t<A>*>(a[I])...);
}
template <auto kernel, class... A>
__attribute__((no_sanitize("thread"))) void unpack(void** arguments) {
  spread<kernel>(static_cast<void (*)(A...)>(kernel), arguments, std::index_sequence_for<A...>{});
}
template <auto kernel, class... A> void (*unpacker(void (*)(A...)))(void**) { return unpack<kernel, A...>; }

// One letter an argument: i int, f float, d double, in capitals a pointer to these, U a pointer to unsigned, ? what no
// kernel here takes.
template <class T> constexpr char letter() {
  typedef std::remove_cv_t<std::remove_pointer_t<T>> Value;
  const char value = std::is_same_v<Value, int> ? 'i' : std::is_same_v<Value, float> ? 'f'
                   : std::is_same_v<Value, double> ? 'd' : std::is_same_v<T, unsigned*> ? 'u' : '?';
  return std::is_pointer_v<T> && value != '?' ? value - 'a' + 'A' : value;
}
template <class... A> const char* signature(void (*)(A...)) {
  static const char letters[] = {letter<A>()..., 0};
  return letters;
}
}  // namespace host_cuda

#define __global__ __attribute__((noinline))
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define threadIdx (host_cuda::thread_index())
#define blockIdx (host_cuda::block_index())
#define blockDim (host_cuda::block_size())
#define gridDim (host_cuda::grid_size())
#define __syncthreads() host_cuda::block_barrier()
#define __threadfence() host_cuda::fence()
#define atomicAdd(pointer, value) host_cuda::atomic_add(pointer, value)
#define read_volatile(pointer) host_cuda::volatile_read(pointer)
#define __ldcg(pointer) host_cuda::load_from_l2(pointer)
#define PREFETCH_L2(pointer) (void)(pointer)
#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(host_cuda::shared_memory())
#define EXPORT_KERNEL(name)                                                                        \
  extern "C" const char* launch_##name(host_cuda::Launch* launch) {                                \
    launch->run = host_cuda::unpacker<name>(name);                                                 \
    return host_cuda::launch(*launch);                                                             \
  }                                                                                                \
  extern "C" const char* signature_##name() { return host_cuda::signature(name); }
