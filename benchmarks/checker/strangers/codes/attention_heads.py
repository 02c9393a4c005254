"""Multi-head attention as an object with one weight for q, k, v."""
import numpy as np

class MultiHeadAttention:
    def __init__(self, dim, heads, rng):
        self.heads = heads
        self.w_qkv = rng.normal(size=(dim, 3 * dim)) / np.sqrt(dim)
        self.w_out = rng.normal(size=(dim, dim)) / np.sqrt(dim)
        self.w_qkv_grad, self.w_out_grad = np.zeros_like(self.w_qkv), np.zeros_like(self.w_out)

    def split(self, a):
        return a.reshape(len(a), self.heads, -1).transpose(1, 0, 2)

    def merge(self, a):
        return a.transpose(1, 0, 2).reshape(a.shape[1], -1)

    def forward(self, x):
        q, k, v = (self.split(a) for a in np.split(x @ self.w_qkv, 3, axis=1))
        s = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])
        p = np.exp(s - s.max(2, keepdims=True))
        p /= p.sum(2, keepdims=True)
        y = self.merge(p @ v)
        self.saved = x, q, k, v, p, y
        return y @ self.w_out

    def backward(self, grad):
        x, q, k, v, p, y = self.saved
        self.w_out_grad += y.T @ grad
        dy = self.split(grad @ self.w_out.T)
        dv, dp = p.transpose(0, 2, 1) @ dy, dy @ v.transpose(0, 2, 1)
        ds = p * (dp - (p * dp).sum(2, keepdims=True)) / np.sqrt(q.shape[2])
        dqkv = np.concatenate([self.merge(ds @ k), self.merge(ds.transpose(0, 2, 1) @ q), self.merge(dv)], axis=1)
        self.w_qkv_grad += x.T @ dqkv
        return dqkv @ self.w_qkv.T

# --- data
layer, x = MultiHeadAttention(6, 2, rng), rng.normal(size=(4, 6))
# --- check
report = engine.check_object(layer, x)
# --- bugs
#| self.w_out_grad += y.T @ grad ==> self.w_out_grad += grad.T @ y ## w_out
#| self.merge(ds.transpose(0, 2, 1) @ q) ==> self.merge(ds @ q) ## w_qkv, x
#| p * (dp - (p * dp).sum(2, keepdims=True)) ==> p * (dp - dp.mean(2, keepdims=True)) ## w_qkv, x
#| return dqkv @ self.w_qkv.T ==> return dqkv @ self.w_qkv.T + x * 0.01 ## x
