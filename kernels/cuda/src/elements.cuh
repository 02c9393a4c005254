// One hidden unit of one row at one step, for each cell: where its values lie in the buffers, and which gate equations
// apply.  The equations themselves are generated from kernels/gates.py and stand before this file.  The stepwise and
// the persistent kernels both end in these functions.
//
// Shapes: T steps, B rows, H hidden units, G gate blocks; buffers as in kernels/cells.py.  A step past a row's end
// carries the state by selection; its gates and gradients are 0.  Null pointers: what a cell or a call does not have.

struct Forward {
  const real* pre;     // (T, B, G, H) input projection with bias_ih
  const real* bias;    // (G*H,) bias_hh, or null
  real* h;             // (T+1, B, H); not `const __restrict__` anywhere: other blocks write it
  real* c;             // (T+1, B, H), LSTM
  real* gates;         // (T, B, G, H)
  real* hidden_n;      // (T, B, H), GRU with reset after
  real* reset_h;       // (B, H) r * h_prev of this step, GRU with reset before
  const int* lengths;  // (B,), or null
  int B, H;
};

struct Backward {
  const real* h;         // (T+1, B, H)
  const real* c;         // (T+1, B, H), LSTM
  const real* gates;     // (T, B, G, H)
  const real* hidden_n;  // (T, B, H), GRU with reset after
  const real* dy;        // (T, B, H), or null
  real* da;              // (T, B, G, H)
  real* da_hidden;       // (T, B, G, H); the same array as da unless the cell splits n
  real* dh;              // (B, H) gradient of h at the step that stands next: at last dh0
  real* dc;              // (B, H) likewise, LSTM
  real* dh_all;          // (T+1, B, H), or null without a trace
  real* dc_all;          // (T+1, B, H) likewise, LSTM
  const int* lengths;    // (B,), or null
  int B, H;
};

// One element's places.  `blocks` is G.
template <class Buffers> struct Place {
  size_t unit, now, next, gate;  // in (B, H); in slots t and t+1 of (T+1, B, H); block 0 in (T, B, G, H)
  int H;
  bool valid;
  __device__ __forceinline__ Place(const Buffers& k, int blocks, int t, int b, int j) {
    H = k.H;
    unit = (size_t)b * H + j;
    now = (size_t)t * k.B * H + unit;
    next = now + (size_t)k.B * H;
    gate = ((size_t)t * k.B + b) * blocks * H + j;
    valid = k.lengths == nullptr || t < k.lengths[b];
  }
  __device__ __forceinline__ size_t block(int q) const { return gate + (size_t)q * H; }
};

__device__ __forceinline__ real hidden(const Forward& k, real product, int q, int j) {  // U h + b of one gate
  return k.bias == nullptr ? product : product + k.bias[(size_t)q * k.H + j];
}

// What h receives at step t: from later steps, and from y[t] = h[t+1].
template <class At> __device__ __forceinline__ real upstream(const Backward& k, const At& at) {
  const real dh = k.dy == nullptr ? k.dh[at.unit] : k.dh[at.unit] + k.dy[at.now];
  if (k.dh_all != nullptr) k.dh_all[at.next] = dh;
  return dh;
}

// What every cell shares.  GATES is G; SPREAD is how many units a thread of the forward product works on, so that it
// has enough independent sums; FIRST is how many gate blocks the (first) product of a step has.
template <int GATES, int SPREAD, int FIRST> struct Base {
  static const int G = GATES, UNITS = SPREAD, COLUMNS = FIRST;
  static const bool TWO_PRODUCTS = FIRST != GATES;

  // Adds what came through the recurrent product of step t: a = U h_prev.
  static __device__ __forceinline__ void absorb(const Backward& k, int t, int b, int j, real product) {
    const Place<Backward> at(k, G, t, b, j);
    if (at.valid) k.dh[at.unit] += product;
  }

  static __device__ __forceinline__ void pass_through(const Backward& k, const Place<Backward>& at, real dh) {
    for (int q = 0; q < G; ++q) k.da[at.block(q)] = 0;
    k.dh[at.unit] = dh;  // h[t+1] = h[t]
  }
};

template <real (*act)(real), real (*slope)(real)> struct Rnn : Base<1, 4, 1> {
  static __device__ __forceinline__ void forward(const Forward& k, int t, int b, int j, const real* product) {
    const Place<Forward> at(k, G, t, b, j);
    const real h = rnn_forward<act>(k.pre[at.gate] + hidden(k, product[0], 0, j));
    k.gates[at.gate] = at.valid ? h : real(0);
    k.h[at.next] = at.valid ? h : k.h[at.now];
  }
  static __device__ __forceinline__ void backward(const Backward& k, int t, int b, int j) {
    const Place<Backward> at(k, G, t, b, j);
    const real dh = upstream(k, at);
    if (!at.valid) return pass_through(k, at, dh);
    k.da[at.gate] = rnn_backward<slope>(dh, k.gates[at.gate]);
    k.dh[at.unit] = 0;  // no direct path to h_prev: all of it comes through the product
  }
};
typedef Rnn<tanh_real, tanh_slope> rnn_tanh;
typedef Rnn<relu_real, relu_slope> rnn_relu;

struct lstm : Base<4, 1, 4> {
  static __device__ __forceinline__ void forward(const Forward& k, int t, int b, int j, const real* product) {
    const Place<Forward> at(k, G, t, b, j);
    real a[G];
    for (int q = 0; q < G; ++q) a[q] = k.pre[at.block(q)] + hidden(k, product[q], q, j);
    const real c_prev = k.c[at.now];
    const lstm_forward_result s = lstm_forward(a[0], a[1], a[2], a[3], c_prev);
    k.gates[at.block(0)] = at.valid ? s.i : real(0);
    k.gates[at.block(1)] = at.valid ? s.f : real(0);
    k.gates[at.block(2)] = at.valid ? s.g : real(0);
    k.gates[at.block(3)] = at.valid ? s.o : real(0);
    k.c[at.next] = at.valid ? s.c : c_prev;
    k.h[at.next] = at.valid ? s.h : k.h[at.now];
  }
  static __device__ __forceinline__ void backward(const Backward& k, int t, int b, int j) {
    const Place<Backward> at(k, G, t, b, j);
    const real dh = upstream(k, at), dc = k.dc[at.unit];
    if (!at.valid) {
      if (k.dc_all != nullptr) k.dc_all[at.next] = dc;
      return pass_through(k, at, dh);  // dc stays as it is: c[t+1] = c[t]
    }
    const lstm_backward_result s =
        lstm_backward(dh, dc, k.gates[at.block(0)], k.gates[at.block(1)], k.gates[at.block(2)], k.gates[at.block(3)],
                      k.c[at.now], k.c[at.next]);
    if (k.dc_all != nullptr) k.dc_all[at.next] = s.dc;
    k.da[at.block(0)] = s.da_i;
    k.da[at.block(1)] = s.da_f;
    k.da[at.block(2)] = s.da_g;
    k.da[at.block(3)] = s.da_o;
    k.dc[at.unit] = s.dc_prev;
    k.dh[at.unit] = 0;  // no direct path to h_prev
  }
};

struct gru_after : Base<3, 1, 3> {
  static __device__ __forceinline__ void forward(const Forward& k, int t, int b, int j, const real* product) {
    const Place<Forward> at(k, G, t, b, j);
    const real h_prev = k.h[at.now], h_n = hidden(k, product[2], 2, j);
    const gru_after_forward_result s =
        gru_after_forward(k.pre[at.block(0)], k.pre[at.block(1)], k.pre[at.block(2)], hidden(k, product[0], 0, j),
                          hidden(k, product[1], 1, j), h_n, h_prev);
    k.gates[at.block(0)] = at.valid ? s.r : real(0);
    k.gates[at.block(1)] = at.valid ? s.z : real(0);
    k.gates[at.block(2)] = at.valid ? s.n : real(0);
    k.hidden_n[at.now] = at.valid ? h_n : real(0);
    k.h[at.next] = at.valid ? s.h : h_prev;
  }
  static __device__ __forceinline__ void backward(const Backward& k, int t, int b, int j) {
    const Place<Backward> at(k, G, t, b, j);
    const real dh = upstream(k, at);
    if (!at.valid) {
      for (int q = 0; q < G; ++q) k.da_hidden[at.block(q)] = 0;
      return pass_through(k, at, dh);
    }
    const gru_after_backward_result s = gru_after_backward(
        dh, k.gates[at.block(0)], k.gates[at.block(1)], k.gates[at.block(2)], k.hidden_n[at.now], k.h[at.now]);
    k.da[at.block(0)] = k.da_hidden[at.block(0)] = s.da_r;
    k.da[at.block(1)] = k.da_hidden[at.block(1)] = s.da_z;
    k.da[at.block(2)] = s.da_n;
    k.da_hidden[at.block(2)] = s.dh_n;  // the hidden side differs from the input side here alone
    k.dh[at.unit] = s.dh_prev;
  }
};

// Two products a step: U_r, U_z with h_prev, then U_n with r * h_prev.
struct gru_before : Base<3, 1, 2> {
  static __device__ __forceinline__ void forward(const Forward& k, int t, int b, int j, const real* product) {
    const Place<Forward> at(k, G, t, b, j);
    const gru_before_gates_forward_result s =
        gru_before_gates_forward(k.pre[at.block(0)] + hidden(k, product[0], 0, j),
                                 k.pre[at.block(1)] + hidden(k, product[1], 1, j), k.h[at.now]);
    k.gates[at.block(0)] = at.valid ? s.r : real(0);
    k.gates[at.block(1)] = at.valid ? s.z : real(0);
    k.reset_h[at.unit] = s.reset_h;
  }
  static __device__ __forceinline__ void output(const Forward& k, int t, int b, int j, const real* product) {
    const Place<Forward> at(k, G, t, b, j);
    const real h_prev = k.h[at.now];
    const gru_before_output_forward_result s = gru_before_output_forward(
        k.pre[at.block(2)] + hidden(k, product[0], 2, j), k.gates[at.block(1)], h_prev);
    k.gates[at.block(2)] = at.valid ? s.n : real(0);
    k.h[at.next] = at.valid ? s.h : h_prev;
  }
  static __device__ __forceinline__ void backward(const Backward& k, int t, int b, int j) {
    const Place<Backward> at(k, G, t, b, j);
    const real dh = upstream(k, at);
    if (!at.valid) return pass_through(k, at, dh);
    const gru_before_output_backward_result s =
        gru_before_output_backward(dh, k.gates[at.block(1)], k.gates[at.block(2)], k.h[at.now]);
    k.da[at.block(1)] = s.da_z;
    k.da[at.block(2)] = s.da_n;
    k.dh[at.unit] = s.dh_prev;
  }
  // Between the two products: dreset_h = U_n' da_n.
  static __device__ __forceinline__ void reset_backward(const Backward& k, int t, int b, int j, real dreset_h) {
    const Place<Backward> at(k, G, t, b, j);
    if (!at.valid) return;  // da_r is 0 already
    const gru_before_gates_backward_result s = gru_before_gates_backward(dreset_h, k.gates[at.block(0)], k.h[at.now]);
    k.da[at.block(0)] = s.da_r;
    k.dh[at.unit] += s.dh_prev;
  }
};

#define FOR_ALL_CELLS(DEFINE) DEFINE(rnn_tanh) DEFINE(rnn_relu) DEFINE(lstm) DEFINE(gru_after) DEFINE(gru_before)
