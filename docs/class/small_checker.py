"""A gradient checker on one page, for reading in class: plain NumPy, nothing else.

You wrote forward and backward. Is backward right? Move each number of each input a little up and a little down, look
how the loss moves, and compare. `engine.check_gradients` does the same, and more: kinks, rounding, time steps, causes.
"""

import numpy as np


def numeric_gradient(loss, x, step=1e-5):
    """The gradient of loss() with respect to x, entry by entry; x is moved in place and put back."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        before = x[index]
        x[index] = before + step
        up = loss()
        x[index] = before - step
        down = loss()
        x[index] = before
        gradient[index] = (up - down) / (2 * step)  # the error of this is about step ** 2
    return gradient


def check(forward, backward, inputs, seed=0, tol=1e-6):
    """Print a line for each input; return whether all gradients are right.

    forward(*inputs) returns (out, cache). backward(dout, cache) returns one gradient for each input, in order.
    inputs are float64 arrays: small, with random numbers, all sizes different.
    """
    inputs = [x.copy() for x in inputs]  # the arrays of the caller stay as they are
    out, cache = forward(*inputs)
    # L = sum(dout * out): one number from many outputs. With ones in place of random numbers, errors could cancel.
    dout = np.random.default_rng(seed).normal(size=np.shape(out))
    claimed = backward(dout.copy(), cache)
    all_right = True
    for number, (x, dx) in enumerate(zip(inputs, claimed, strict=True)):
        if np.shape(dx) != x.shape:
            print(f"input {number}: WRONG, its gradient has shape {np.shape(dx)} and it has {x.shape}")
            all_right = False
            continue
        right = numeric_gradient(lambda: np.sum(dout * forward(*inputs)[0]), x)
        error = np.max(np.abs(dx - right)) / max(np.max(np.abs(right)), 1e-8)  # relative to the largest right value
        fine = error <= tol  # NaN is not <= anything, so it fails: write it this way round
        print(f"input {number}: {'ok' if fine else 'WRONG'}, error {error:.0e}")
        all_right = all_right and bool(fine)
    return all_right


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    W, x = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    print("a right backward:")
    check(lambda x, W: (np.tanh(x @ W.T), (x, W)), lambda dout, c: (
        (da := dout * (1 - np.tanh(c[0] @ c[1].T) ** 2)) @ c[1], da.T @ c[0]), [x, W])  # fmt: skip
    print("the slope of tanh forgotten:")
    check(lambda x, W: (np.tanh(x @ W.T), (x, W)), lambda dout, c: (dout @ c[1], dout.T @ c[0]), [x, W])
