// The simulator behind host_cuda.h: fibres for CUDA threads, seeded schedules, and a detector of races.
//
// Scheduling.  All threads of a cooperative launch are alive at once; of any other launch, one block after the other.
// A thread runs until a barrier, an atomic or a volatile read.  Seed 0 runs block after block, each as far as it gets
// before it has to wait for another; an odd seed does so with random blocks and threads; an even one lets all blocks go
// side by side, its threads in random order.  A barrier opens when all threads of a block have reached it.  Where nobody
// can run, the launch is reported: some threads wait for others that never come.  (A thread that has returned reaches
// no barrier: what a GPU does then is undefined.)
//
// Races.  A vector clock for each thread, as in FastTrack (Flanagan and Freund 2009).  Two accesses to the same four
// bytes, one of them a write, must be ordered by barriers within a block, or between blocks by
//     writes -> fence -> atomic  ...  volatile read (or atomic) that saw it -> fence -> reads;
// as nothing depends on the order in which the threads really ran, one run shows a missing barrier or fence.
// Besides: shared memory begins as NaN and must be written before it is read; every address must lie in an array of
// the launch, in the block's shared memory or on the thread's own stack; and what another block has written in this
// launch must be read from L2 (__ldcg), since an L1 cache does not hear of it.
#include "host_cuda.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace host_cuda {
namespace {

const size_t STACK = 128 << 10;
enum State { READY, AT_BARRIER, SPINNING, DONE };
typedef std::vector<uint32_t> Clock;  // what a thread knows of every thread's progress

struct Fibre {
  char* stack = nullptr;
  ucontext_t start;
  void* resume[5];
  bool started = false;
  State state = READY;
  dim3 block, thread;
  size_t block_number = 0, id = 0;  // id counts over the whole grid
  const unsigned* spin_on = nullptr;
  unsigned spin_value = 0;
  Clock knows, released, heard;  // `released`: at the last fence; `heard`: to be known after the next one
};

// What is remembered of four bytes: the last write, and the reads since then that no later read comes after.
struct Cell {
  uint64_t writer = 0, clock = 0;  // writer is id + 1, 0 for none
  std::vector<std::pair<uint32_t, uint32_t>> readers;
};

struct Memory {
  char* data;
  size_t bytes;
  std::vector<Cell> cells;
  bool holds(const char* p, size_t n) const { return p >= data && p + n <= data + bytes; }
};

Launch now;
std::vector<char*> stacks;  // kept from launch to launch
std::vector<Fibre> fibres;  // those alive
size_t first_id, threads;   // id of the first one alive; threads in a block
std::vector<std::unique_ptr<char[]>> shared;
std::vector<Memory> shared_cells, arrays;
std::map<const unsigned*, Clock> messages;  // what the atomics at an address carry
Fibre* current;
void* scheduler[5];
char message[256];
bool failed;

[[noreturn]] __attribute__((noinline)) void jump(void** to) { __builtin_longjmp(to, 1); }

__attribute__((noinline)) void to_scheduler() {
  if (__builtin_setjmp(current->resume) == 0) jump(scheduler);
}

__attribute__((noinline)) void to_fibre(Fibre& f) {
  current = &f;
  if (__builtin_setjmp(scheduler) == 0) {
    if (f.started) jump(f.resume);
    f.started = true;
    setcontext(&f.start);
  }
  current = nullptr;
}

void body() {
  now.run(now.arguments);
  current->state = DONE;
  jump(scheduler);
}

[[noreturn]] void fail(const char* words) {
  snprintf(message, sizeof message, "%s [block (%u, %u), thread %u]", words, current->block.x, current->block.y,
           current->thread.x);
  failed = true;
  jump(scheduler);
}

void join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

bool after(const Fibre& me, uint64_t id, uint64_t clock) {  // have I heard of that thread's access?
  return id >= first_id && id - first_id < fibres.size() && me.knows[id - first_id] >= clock;
}

void touch(Memory& memory, bool is_shared, const char* p, size_t n, bool write, bool from_l2) {
  Fibre& me = *current;
  const size_t index = me.id - first_id;
  for (size_t i = (p - memory.data) / 4; i <= (p + n - 1 - memory.data) / 4; ++i) {
    Cell& cell = memory.cells[i];
    if (cell.writer && !after(me, cell.writer - 1, cell.clock))
      fail(write ? "race: two writes with no barrier between them" : "race: a read with no barrier after the write");
    if (write) {
      for (auto& [id, clock] : cell.readers)
        if (!after(me, id, clock)) fail("race: a write with no barrier after the reads");
      cell.writer = me.id + 1;
      cell.clock = me.knows[index];
      cell.readers.clear();
      continue;
    }
    if (is_shared && !cell.writer) fail("read of shared memory that nobody wrote");
    if (!is_shared && !from_l2 && cell.writer && (cell.writer - 1) / threads != me.block_number)
      fail("plain load of what another block wrote in this launch: it must come from L2 (__ldcg)");
    auto& readers = cell.readers;
    readers.erase(std::remove_if(readers.begin(), readers.end(), [&](auto& r) { return after(me, r.first, r.second); }),
                  readers.end());
    readers.emplace_back(uint32_t(me.id), me.knows[index]);
  }
}

void access(const void* address, size_t n, bool write, bool from_l2) {
  if (current == nullptr || !now.check || n == 0) return;
  const char* p = static_cast<const char*>(address);
  if (p >= current->stack && p + n <= current->stack + STACK) return;
  Memory& own = shared_cells[current->block_number % shared_cells.size()];
  if (own.holds(p, n)) return touch(own, true, p, n, write, from_l2);
  for (Memory& memory : arrays)
    if (memory.holds(p, n)) return touch(memory, false, p, n, write, from_l2);
  fail(write ? "write outside every array of the launch" : "read outside every array of the launch");
}

// Arguments may be the same array, or overlap: one memory each.
void lay_out_arrays() {
  std::vector<Array> sorted(now.arrays, now.arrays + now.array_count);
  std::sort(sorted.begin(), sorted.end(), [](const Array& a, const Array& b) { return a.data < b.data; });
  arrays.clear();
  for (const Array& a : sorted) {
    if (!arrays.empty() && a.data < arrays.back().data + arrays.back().bytes)
      arrays.back().bytes = std::max(arrays.back().bytes, size_t(a.data - arrays.back().data) + a.bytes);
    else
      arrays.push_back({a.data, a.bytes, {}});
  }
  for (Memory& memory : arrays) memory.cells.resize((memory.bytes + 3) / 4);
}

// Blocks [first, first + count) come alive.
void start_blocks(size_t first, size_t count) {
  first_id = first * threads;
  fibres.clear();
  fibres.resize(count * threads);
  shared.clear();
  shared_cells.clear();
  messages.clear();
  for (size_t b = 0; b < count; ++b) {
    shared.emplace_back(new char[now.shared_bytes + 16]);
    memset(shared[b].get(), 0xFF, now.shared_bytes + 16);  // NaN
    shared_cells.push_back({shared[b].get(), now.shared_bytes, {}});
    if (now.check) shared_cells[b].cells.resize((now.shared_bytes + 3) / 4);
  }
  while (stacks.size() < fibres.size())
    stacks.push_back(static_cast<char*>(
        mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)));
  for (size_t i = 0; i < fibres.size(); ++i) {
    Fibre& f = fibres[i];
    const size_t t = i % threads, b = first + i / threads;
    f.id = first_id + i;
    f.block_number = b;
    f.block = {unsigned(b % now.grid.x), unsigned(b / now.grid.x % now.grid.y),
               unsigned(b / (size_t(now.grid.x) * now.grid.y))};
    f.thread = {unsigned(t % now.block.x), unsigned(t / now.block.x % now.block.y),
                unsigned(t / (size_t(now.block.x) * now.block.y))};
    f.stack = stacks[i];
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = f.stack;
    f.start.uc_stack.ss_size = STACK;
    f.start.uc_link = nullptr;
    makecontext(&f.start, body, 0);
    if (!now.check) continue;
    f.knows.assign(fibres.size(), 0);
    f.knows[i] = 1;
  }
}

bool open_barrier(size_t first) {  // of the block whose fibres begin there
  Fibre* block = &fibres[first];
  if (!std::all_of(block, block + threads, [](const Fibre& f) { return f.state == AT_BARRIER; })) return false;
  Clock all;
  for (size_t t = 0; t < threads && now.check; ++t) join(all, block[t].knows);
  for (size_t t = 0; t < threads; ++t) {
    block[t].state = READY;
    if (!now.check) continue;
    block[t].knows = all;
    ++block[t].knows[first + t];
  }
  return true;
}

// Lets every thread of the block run that can, once; whether there was one.
bool run_block(size_t first, std::vector<size_t>& order, std::mt19937& random) {
  if (now.seed) std::shuffle(order.begin(), order.end(), random);
  bool ran = false;
  for (size_t t : order) {
    Fibre& f = fibres[first + t];
    if (f.state == SPINNING && *f.spin_on != f.spin_value) f.state = READY;
    if (f.state != READY) continue;
    to_fibre(f);
    ran = true;
    if (failed) return false;
  }
  return open_barrier(first) || ran;
}

void report_waiting() {
  for (const Fibre& f : fibres) {
    if (f.state == DONE) continue;
    failed = true;
    snprintf(message, sizeof message, "%s [block (%u, %u), thread %u waits]",
             f.state == SPINNING ? "deadlock: a block waits for blocks that never arrive"
                                 : "divergent barrier: some threads of the block never reach it",
             f.block.x, f.block.y, f.thread.x);
    return;
  }
}

void run_blocks(std::mt19937& random) {
  const bool far = now.seed == 0 || now.seed % 2;  // one block as far as it gets
  std::vector<size_t> order(threads), blocks;
  for (size_t t = 0; t < threads; ++t) order[t] = t;
  for (size_t first = 0; first < fibres.size(); first += threads) blocks.push_back(first);
  for (bool ran = true; ran;) {
    ran = false;
    if (now.seed) std::shuffle(blocks.begin(), blocks.end(), random);
    for (size_t first : blocks) {
      while (run_block(first, order, random)) {
        ran = true;
        if (!far) break;
      }
      if (failed) return;
    }
  }
  report_waiting();
}

}  // namespace

const char* launch(const Launch& l) {
  now = l;
  failed = false;
  threads = size_t(l.block.x) * l.block.y * l.block.z;
  const size_t blocks = size_t(l.grid.x) * l.grid.y * l.grid.z, wave = l.cooperative ? blocks : 1;
  if (now.check) lay_out_arrays();
  std::mt19937 random(l.seed);
  for (size_t first = 0; first < blocks && !failed; first += wave) {
    start_blocks(first, wave);
    run_blocks(random);
  }
  return failed ? message : nullptr;
}

dim3 thread_index() { return current->thread; }
dim3 block_index() { return current->block; }
dim3 block_size() { return now.block; }
dim3 grid_size() { return now.grid; }
void* shared_memory() { return shared[current->block_number % shared.size()].get(); }

void block_barrier() {
  current->spin_on = nullptr;
  current->state = AT_BARRIER;
  to_scheduler();
}

void fence() {
  if (!now.check) return;
  Fibre& me = *current;
  join(me.knows, me.heard);
  me.released = me.knows;
  ++me.knows[me.id - first_id];
}

unsigned atomic_add(unsigned* p, unsigned value) {
  current->spin_on = nullptr;
  to_scheduler();
  if (now.check) {
    join(current->heard, messages[p]);
    join(messages[p], current->released);
  }
  const unsigned before = *p;
  *p += value;
  return before;
}

unsigned volatile_read(const unsigned* p) {
  Fibre& me = *current;
  if (me.spin_on == p && me.spin_value == *p) me.state = SPINNING;  // nothing new: sleep until there is
  to_scheduler();
  if (now.check) join(me.heard, messages[p]);
  me.spin_on = p;
  return me.spin_value = *p;
}

void note_cached_read(const void* p, size_t n) { access(p, n, false, true); }

}  // namespace host_cuda

// What -fsanitize=thread calls before each access; this file itself is compiled without it.
#define HOOKS(n)                                                                                \
  void __tsan_read##n(void* p) { host_cuda::access(p, n, false, false); }                       \
  void __tsan_write##n(void* p) { host_cuda::access(p, n, true, false); }                       \
  void __tsan_unaligned_read##n(void* p) { host_cuda::access(p, n, false, false); }             \
  void __tsan_unaligned_write##n(void* p) { host_cuda::access(p, n, true, false); }
extern "C" {
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
void __tsan_read_range(void* p, size_t n) { host_cuda::access(p, n, false, false); }
void __tsan_write_range(void* p, size_t n) { host_cuda::access(p, n, true, false); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
}
