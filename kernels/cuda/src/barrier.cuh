// The barrier of a group of blocks: the one place where blocks wait for each other.
//
// UNPROVEN until a GPU has run it.  The tests run this very function on the host simulator, whose race detector knows
// fences and atomics; that is no proof of what the hardware does.
//
// Every block of the group (`members` of them, all resident at once: the launch is cooperative) waits until all of
// them have arrived.  `ticket` starts at 0 at each launch and only ever rises.  The k-th barrier (k = 0, 1, ...) hands
// out tickets k*members to (k+1)*members - 1, as no block can draw twice before all have drawn once; so whoever draws
// ticket m waits for the count (m / members + 1) * members.  32 bits are enough for 16 million steps of 128 blocks with
// two barriers each.
//
// Only thread 0 waits here.  THE OTHERS PASS, and are held by the next __syncthreads: the one that `multiply` begins
// with.  (A second one here would cost time and keep nothing apart.)
//
// What a thread of one block wrote before the barrier, every thread of another block reads after it:
//   its write -> __syncthreads -> thread 0's fence -> its atomicAdd (release), seen by
//   the other's volatile read -> its thread 0's fence (acquire) -> __syncthreads of multiply -> the read.
// The fences are cumulative: they cover what thread 0 has observed, its whole block's writes.  Volatile keeps the
// spinning read out of registers and out of L1.  The reads after the barrier use __ldcg (see product.cuh).
__device__ __forceinline__ void group_barrier(unsigned* ticket, unsigned members) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    const unsigned mine = atomicAdd(ticket, 1u);
    const unsigned goal = (mine / members + 1) * members;
    while ((int)(read_volatile(ticket) - goal) < 0) {
    }
    __threadfence();
  }
}
