"""Attention: loops over rows and queries, and the softmax's Jacobian written out."""

import numpy as np


def attention_forward(query, keys, values):
    T, B, D = query.shape
    out, weights = np.zeros((T, B, values.shape[2])), np.zeros((T, B, len(keys)))
    for t in range(T):
        for b in range(B):
            score = keys[:, b] @ query[t, b] / D**0.5
            weights[t, b] = np.exp(score - np.logaddexp.reduce(score))
            out[t, b] = weights[t, b] @ values[:, b]
    return out, [query, keys, values, weights]


def attention_backward(dout, cache):
    query, keys, values, weights = cache
    found = [np.zeros_like(array) for array in (query, keys, values)]
    for t, b in np.ndindex(dout.shape[:2]):
        w = weights[t, b]
        jacobian = np.diag(w) - np.outer(w, w)
        dscore = jacobian @ (values[:, b] @ dout[t, b]) / query.shape[2] ** 0.5
        found[0][t, b] = dscore @ keys[:, b]
        found[1][:, b] += np.outer(dscore, query[t, b])
        found[2][:, b] += np.outer(w, dout[t, b])
    return found
