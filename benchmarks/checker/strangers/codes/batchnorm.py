"""Batch normalisation with a dict of settings that forward writes into."""
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    mu, var = x.mean(axis=0), x.var(axis=0)
    xhat = (x - mu) / np.sqrt(var + eps)
    bn_param["running_mean"] = momentum * bn_param["running_mean"] + (1 - momentum) * mu
    return gamma * xhat + beta, (xhat, gamma, np.sqrt(var + eps))

def batchnorm_backward(dout, cache):
    xhat, gamma, std = cache
    N = len(dout)
    dgamma = (dout * xhat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dxhat = dout * gamma
    dx = (N * dxhat - dxhat.sum(0) - xhat * (dxhat * xhat).sum(0)) / (N * std)
    return dx, dgamma, dbeta

# --- data
x, gamma, beta = rng.normal(size=(7, 4)), rng.normal(size=4), rng.normal(size=4)
bn_param = {"mode": "train", "running_mean": np.zeros(4)}
# --- check
report = engine.check_gradients(batchnorm_forward, batchnorm_backward, [x, gamma, beta, bn_param])
# --- bugs
#| - dxhat.sum(0) ==> ## x
#| xhat * (dxhat * xhat).sum(0) ==> xhat * (dout * xhat).sum(0) ## x
#| (dout * xhat).sum(axis=0) ==> (dout * xhat).mean(axis=0) ## gamma
#| dout.sum(axis=0) ==> dout.sum(axis=0)[::-1] ## beta
