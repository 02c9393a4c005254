"""Mutants of `benchmarks.checker.mutation_test` that no check finds, each with the reason why no gradient can tell."""

from __future__ import annotations

#: (function, before, after): the reason.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "normalising.normalise_backward",
        "centred = rows - mean(rows)",
        "centred = -(rows - mean(rows))",
    ): ("centred is used in its square alone"),
    (
        "normalising.normalise_backward",
        "scale = inverse_root(mean(centred * centred), eps)",
        "scale = inverse_root(mean(rows * centred), eps)",
    ): ("the mean of centred is 0, so rows and centred differ by nothing in that product"),
    (
        "normalising.normalise_backward",
        "scale = inverse_root(mean(centred * centred), eps)",
        "scale = inverse_root(mean(centred * rows), eps)",
    ): ("the mean of centred is 0, so rows and centred differ by nothing in that product"),
    (
        "slstm.backward",
        "divisor = n + one * (n.real * n.real <= zero)",
        "divisor = n + (n.real * n.real <= zero)",
    ): ("the 1 only gives the truth value a dtype, and its sum with n has n's dtype in any case"),
    (
        "slstm.backward",
        "divisor = n + one * (n.real * n.real <= zero)",
        "divisor = n + one * (n.real + n.real <= zero)",
    ): ("n is never negative, and no n lies between 0 and the root of the smallest number"),
    (
        "slstm.backward",
        "divisor = n + one * (n.real * n.real <= zero)",
        "divisor = n + one * (n.real <= zero)",
    ): ("n is never negative, and no n lies between 0 and the root of the smallest number"),
    (
        "slstm.backward",
        "larger = one * (f.real > i.real)",
        "larger = f.real > i.real",
    ): ("the 1 only gives the truth value a dtype, and its product with dm has dm's dtype in any case"),
    (
        "slstm.backward",
        "larger = one * (f.real > i.real)",
        "larger = one * (f.real >= i.real)",
    ): ("they differ at a tie alone, where maximum has a kink"),
    (
        "slstm.backward",
        "return (da_i, da_f, da_z, da_o, dc_prev, dn_prev, dm_prev, dc, dn, dm)",
        "return (da_i, da_f, da_z, da_o, dc_prev, dn_prev, dcarried, dc, dn, dm)",
    ): ("two names of one value"),
    (
        "activations.relu_slope",
        "return one * (h.real > 0)",
        "return h.real > 0",
    ): ("the 1 only gives the truth value a dtype, and its product with dh has dh's dtype in any case"),
    (
        "steps.Steps.backward",
        "if number == self.cell.projected_at:",
        "if number != self.cell.projected_at:",
    ): (
        "projected after another phase that leaves h and what was projected alone, or once more when nothing "
        "reads it any longer"
    ),
    (
        "steps.Steps._between_backward",
        "found.hidden |= {gate: found.input[gate] for gate in work.gates}",
        "found.hidden = {gate: found.input[gate] for gate in work.gates}",
    ): ("the hidden sides of later phases have gone back already, and where no gate splits nobody reads them again"),
    (
        "steps.Steps._between_backward_of_value",
        "rows, dout = (at[place], found.values.pop(_between(work)))",
        "rows, dout = (-at[place], found.values.pop(_between(work)))",
    ): ("normalisation is odd and its slope is even"),
    (
        "reference.ReferenceKernels.backward",
        "xp, gates, cell, lengths = (self.xp, run.gates, given.cell, given.lengths)",
        "xp, gates, cell, lengths = (self.xp, -run.gates, given.cell, given.lengths)",
    ): ("only their shape and dtype are asked for here"),
    (
        "reference.ReferenceKernels.backward",
        "da_hidden[t, :, block] = _select(xp, valid, found.hidden.get(gate, found.input[gate]), 0)",
        "da_hidden[t, :, block] = found.hidden.get(gate, found.input[gate])",
    ): ("past a row's end the stored r is 0, and so is dh_n = dx_n * r: the mask is a second lock"),
    (
        "reference.ReferenceKernels.backward",
        "da_hidden[t, :, block] = _select(xp, valid, found.hidden.get(gate, found.input[gate]), 0)",
        "da_hidden[t, :, block] = _select(xp, valid, found.hidden.get(gate, found.hidden[gate]), 0)",
    ): ("every gate has a hidden side by then"),
    (
        "reference.ReferenceKernels.backward",
        "dprojected[t] = _select(xp, valid, found.projected, 0)",
        "dprojected[t] = found.projected",
    ): ("past a row's end what was projected is stored as 0, and the two are multiplied"),
    (
        "reference.ReferenceKernels.backward",
        "dprojected[t] = _select(xp, valid, found.projected, 0)",
        "dprojected[t] = _select(xp, valid, found.projected, 1)",
    ): ("past a row's end what was projected is stored as 0, and the two are multiplied"),
    (
        "reference.ReferenceKernels.backward",
        "slots[t + 1] = _select(xp, valid, found.totals[name], dstate)",
        "slots[t + 1] = found.totals[name]",
    ): ("past a row's end the stored gates are 0, so no state receives anything within the step"),
    (
        "reference.ReferenceKernels.backward",
        "slots[t + 1] = _select(xp, valid, found.totals[name], dstate)",
        "slots[t + 1] = _select(xp, valid, found.values[name], dstate)",
    ): ("they differ in the trace of zoneout alone, which no check pushes on"),
    (
        "steps.Steps._between_backward_of_value",
        "out = self.through(at, between.forward, rows)",
        "out = -self.through(at, between.forward, rows)",
    ): ("the slope of a normalisation has its output twice, multiplied by itself"),
    (
        "reference.ReferenceKernels.backward_layer",
        "if len(x) > self.steps_at_once and (not trace):",
        "if len(x) >= self.steps_at_once and (not trace):",
    ): ("one block is a whole pass"),
    (
        "reference.ReferenceKernels.backward_layer",
        "if len(x) > self.steps_at_once and (not trace):",
        "if len(x) > self.steps_at_once:",
    ): ("the sequences that mutants are tried on are shorter than a block; tests/test_recompute.py has longer ones"),
    (
        "reference.ReferenceKernels.backward_layer",
        "return self._backward_in_blocks(given, run, x, dy, dlast, grads, going_on)",
        "return -self._backward_in_blocks(given, run, x, dy, dlast, grads, going_on)",
    ): ("the sequences that mutants are tried on are shorter than a block; tests/test_recompute.py has longer ones"),
    (
        "products.recurrent_weight_backward",
        "found['weight_hh'] = parts[0] if len(parts) == 1 else xp.concatenate(parts)",
        "found['weight_hh'] = parts[0] if len(parts) == 0 else xp.concatenate(parts)",
    ): ("the short way for one part; joining one part gives the same"),
    (
        "products.recurrent_weight_backward",
        "found['bias_hh'] = sums[0] if len(sums) == 1 else xp.concatenate(sums)",
        "found['bias_hh'] = sums[0] if len(sums) == 0 else xp.concatenate(sums)",
    ): ("the short way for one part; joining one part gives the same"),
}
