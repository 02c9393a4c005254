"""An LSTM with batch normalisation in its recurrence, with statistics of their own for every time step.

Source: T. Cooijmans, N. Ballas, C. Laurent, C. Gulcehre, A. Courville, "Recurrent batch normalization", 2016 (ICLR
2017), equations 6 to 8.  With BN(v; gain, bias) = gain * (v - mean(v)) / sqrt(var(v) + eps) + bias, mean and variance
over the rows of a batch at one step:

    (i, f, g, o) = BN(x_t W_ih'; gain_ih, 0) + BN(h_(t-1) W_hh'; gain_hh, 0) + bias
    c_t = sigmoid(f) * c_(t-1) + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(BN(c_t; gain_c, bias_c))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.layers.base import Layer
from engine.layers.batch_norm_lstm_tape import Normalised, StepRecord, mean_over, sigmoid
from engine.layers.timeline import Timeline
from kernels.gates.normalising import inverse_root, normalise

Array = Any  # of the layer's backend


class BatchNormLSTMPasses(Layer):
    """The equations of a `BatchNormLSTM`, forward and backward."""

    hidden_size: int
    max_steps: int
    eps: float
    momentum: float

    def _walk(
        self, x: Array, timeline: Timeline, h: Array, c: Array, counts: Sequence[int], keep: bool = True
    ) -> tuple[Array, tuple[Array, Array], list[StepRecord]]:
        """All steps; `counts` of 0 take the running statistics."""
        xp, y, records = self.backend.xp, [], []
        for t in range(timeline.steps):
            valid = None if timeline.valid is None else timeline.valid[t]
            h, c, record = self._one_step(x[t], h, c, t, valid, counts[t])
            y.append(record.kept(h, xp))
            if keep:
                records.append(record)
        found = xp.stack(y) if y else xp.zeros((0, *h.shape), dtype=self.dtype)
        return (xp.copy(found.swapaxes(0, 1)) if self.batch_first else found), (h[None], xp.copy(c)[None]), records

    def _one_step(
        self, x: Array, h_prev: Array, c_prev: Array, t: int, valid: Array | None, count: int
    ) -> tuple[Array, Array, StepRecord]:
        """The states after step t, with as many rows for its statistics; 0 takes the running ones."""
        xp, p, H = self.backend.xp, self._params.own, self.hidden_size
        from_x = self._normalised("ih", x @ p["weight_ih"].T, t, valid, count)
        from_h = self._normalised("hh", h_prev @ p["weight_hh"].T, t, valid, count)
        a = p["gain_ih"] * from_x.out + p["gain_hh"] * from_h.out + p["bias"]
        i, f, o = (sigmoid(xp, a[:, n * H : (n + 1) * H]) for n in (0, 1, 3))
        g = xp.tanh(a[:, 2 * H : 3 * H])
        cell = self._normalised("c", f * c_prev + i * g, t, valid, count)
        u = xp.tanh(p["gain_c"] * cell.out + p["bias_c"])
        h, c = o * u, cell.rows
        if valid is not None:  # past its end a row keeps its states
            h, c = xp.where(valid, h, h_prev), xp.where(valid, c, c_prev)
        return h, c, StepRecord(x, h_prev, c_prev, from_x, from_h, cell, i, f, g, o, u, valid)

    def _step_backward(self, step: StepRecord, dh: Array, dh_passed: Array, dc: Array) -> tuple[Array, Array, Array]:
        """Reverse of `_one_step`: dx_t, dh_(t-1), dc_(t-1); `dh` of rows without this step comes as `dh_passed`."""
        xp, p, grads = self.backend.xp, self._params.own, self._grads.own
        i, f, g, o, u = step.i, step.f, step.g, step.o, step.u
        do, du = dh * u, dh * o  # h = o * u
        dm = du * (1 - u * u)  # u = tanh(gain_c * n + bias_c)
        grads["gain_c"] += (dm * step.cell.out).sum(axis=0)
        grads["bias_c"] += dm.sum(axis=0)
        dcell = step.kept(dc, xp) + step.through(step.cell, dm * p["gain_c"], self.eps, xp)  # n = normalise(c)
        df, dc_prev = dcell * step.c_prev, dcell * f + step.passed(dc, xp)  # c = f * c_prev + i * g
        di, dg = dcell * g, dcell * i
        da = xp.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], axis=1)
        # a = gain_ih * n_x + gain_hh * n_h + bias
        grads["bias"] += da.sum(axis=0)
        grads["gain_ih"] += (da * step.from_x.out).sum(axis=0)
        grads["gain_hh"] += (da * step.from_h.out).sum(axis=0)
        da_x = step.through(step.from_x, da * p["gain_ih"], self.eps, xp)
        da_h = step.through(step.from_h, da * p["gain_hh"], self.eps, xp)
        grads["weight_ih"] += da_x.T @ step.x  # a_x = x W_ih'
        grads["weight_hh"] += da_h.T @ step.h_prev  # a_h = h_prev W_hh'
        return da_x @ p["weight_ih"], da_h @ p["weight_hh"] + dh_passed, dc_prev

    def _normalised(self, name: str, rows: Array, t: int, valid: Array | None, count: int) -> Normalised:
        """Rows (B, W) normalised by their own statistics at step t, or by the running ones."""
        buffers, slot = self._buffers.own, min(t, self.max_steps - 1)
        means, variances = buffers[f"running_mean_{name}"], buffers[f"running_var_{name}"]
        if count < 2:
            scale = inverse_root(variances[slot], self.eps)
            return Normalised(rows, (rows - means[slot]) * scale, scale, 0)
        mean_of = mean_over(self.backend.xp, valid, count)
        out = normalise(rows, mean_of, self.eps)
        if t < self.max_steps:
            mean = mean_of(rows)
            variance = mean_of((rows - mean) ** 2)[0] * (count / (count - 1))
            with self._lock:
                means[t] += self.momentum * (mean[0] - means[t])
                variances[t] += self.momentum * (variance - variances[t])
        return Normalised(rows, out, None, count)
