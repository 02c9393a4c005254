"""The big matrix products around a time loop.

Only the product with the recurrent weights has to wait for the step before it.  The input projection of all T steps,
and every weight gradient, are single products over T*B rows and are hoisted out of the loop.  With the weights stored
as (G*H, D), as PyTorch does, forward multiplies by the transpose and backward by the weights themselves.
"""

from __future__ import annotations

from typing import Any

from kernels.cells import Adjoints, Cell, Run


def project_forward(matmul: Any, x: Any, weight_ih: Any, bias_ih: Any) -> Any:
    """Input projection x W_ih' + b_ih of a whole sequence.

    Parameters
    ----------
    x : (T, B, D).
    weight_ih : (G*H, D).
    bias_ih : (G*H,) or None.

    Returns
    -------
    (T, B, G*H).
    """
    steps, batch, features = x.shape
    pre = matmul(x.reshape(steps * batch, features), weight_ih.T)
    if bias_ih is not None:
        pre += bias_ih
    return pre.reshape(steps, batch, -1)


def project_backward(matmul: Any, da: Any, x: Any, weight_ih: Any) -> tuple[Any, Any, Any]:
    """Reverse of `project_forward`.

    Parameters
    ----------
    da : (T, B, G, H) gradients of the pre-activations, input side.

    Returns
    -------
    dx (T, B, D), dweight_ih (G*H, D), dbias_ih (G*H,).
    """
    steps, batch, features = x.shape
    rows = da.reshape(steps * batch, -1)
    dx = matmul(rows, weight_ih).reshape(steps, batch, features)  # pre = x W_ih' + b_ih
    dweight = matmul(rows.T, x.reshape(steps * batch, features))  # pre = x W_ih' + b_ih
    dbias = rows.sum(axis=0)  # pre = x W_ih' + b_ih
    return dx, dweight, dbias


def recurrent_weight_backward(matmul: Any, xp: Any, cell: Cell, run: Run, adjoints: Adjoints) -> tuple[Any, Any]:
    """Gradients of weight_hh (G*H, H) and bias_hh (G*H,), summed over all steps.

    The product at step t is with h[t], the state *before* the step: h[:-1] of the T+1 slots (rule 6).  Only where the
    reset gate acts before the product (GRU, Cho et al. 2014) does its last block multiply r * h[:-1].
    """
    da = adjoints.da_hidden
    steps, batch, blocks, hidden = da.shape
    rows = da.reshape(steps * batch, blocks * hidden)
    h_prev = run.h[:-1].reshape(steps * batch, hidden)
    if cell.resets_before:
        reset_h = run.gates[:, :, 0].reshape(steps * batch, hidden) * h_prev
        dweight = xp.concatenate(
            [
                matmul(rows[:, : 2 * hidden].T, h_prev),  # a_r, a_z = U h_prev + b_hh
                matmul(rows[:, 2 * hidden :].T, reset_h),  # a_n = U_n (r * h_prev) + b_hn
            ]
        )
    else:
        dweight = matmul(rows.T, h_prev)  # a = U h_prev + b_hh
    return dweight, rows.sum(axis=0)
