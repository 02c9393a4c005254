"""An embedding whose padding row learns nothing."""
import numpy as np

class Embedding:
    def __init__(self, words, dim, rng, pad=0):
        self.params, self.grads, self.pad = [rng.normal(size=(words, dim))], [np.zeros((words, dim))], pad

    def forward(self, idx):
        (W,) = self.params
        self.idx = idx
        return W[idx]

    def backward(self, dout):
        (dW,) = self.grads
        dW[...] = 0
        np.add.at(dW, self.idx, dout)
        dW[self.pad] = 0

# --- data
layer, idx = Embedding(7, 3, rng), np.array([[1, 4, 4], [0, 6, 1]])
# --- check
report = engine.check_object(layer, idx, fixed={"params[0]": np.arange(7)[:, None] == 0})
# --- bugs
#| np.add.at(dW, self.idx, dout) ==> dW[self.idx] = dout ## params[0]
#| dW[self.pad] = 0 ==> dW[self.pad + 1] = 0 ## params[0]
#| self.idx, dout) ==> self.idx[:, ::-1], dout) ## params[0]
#| self.idx, dout) ==> self.idx[:1], dout[:1]) ## params[0]
