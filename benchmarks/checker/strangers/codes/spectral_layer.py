"""A layer with complex weights for the lowest frequencies, as in neural operators."""
import numpy as np

class SpectralLayer:
    def __init__(self, modes, rng):
        self.w = rng.normal(size=modes) + 1j * rng.normal(size=modes)

    def forward(self, x):
        self.n, self.f = x.shape[-1], np.fft.fft(x)
        y = np.zeros_like(self.f)
        y[:, :len(self.w)] = self.f[:, :len(self.w)] * self.w
        return np.fft.ifft(y).real

    def backward(self, dout):
        m = len(self.w)
        d = np.fft.fft(dout) / self.n
        self.dw = (d[:, :m] * np.conj(self.f[:, :m])).sum(axis=0)
        df = np.zeros_like(self.f)
        df[:, :m] = d[:, :m] * np.conj(self.w)
        return np.fft.ifft(df).real * self.n

# --- data
layer, x = SpectralLayer(3, rng), rng.normal(size=(4, 9))
# --- check
report = engine.check_object(layer, x)
# --- bugs
#| np.conj(self.f[:, :m])).sum(axis=0) ==> self.f[:, :m]).sum(axis=0) ## w
#| d[:, :m] * np.conj(self.w) ==> d[:, :m] * self.w ## x
#| return np.fft.ifft(df).real * self.n ==> return np.fft.ifft(df).real ## x
#| np.conj(self.f[:, :m])).sum(axis=0) ==> np.conj(self.f[:, :m])).mean(axis=0) ## w
