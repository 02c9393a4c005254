"""A loss as an object: forward(pred, target) returns a number, backward() the gradient."""
import numpy as np

class HuberLoss:
    def __init__(self, delta=0.7):
        self.delta = delta

    def forward(self, pred, target):
        self.diff = pred - target
        small = np.abs(self.diff) <= self.delta
        losses = np.where(small, 0.5 * self.diff ** 2, self.delta * (np.abs(self.diff) - 0.5 * self.delta))
        return losses.mean()

    def backward(self):
        grad = np.clip(self.diff, -self.delta, self.delta)
        return grad / grad.size

# --- data
pred, target = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
# --- check
report = engine.check_object(HuberLoss(), (pred, target))
# --- bugs
#| grad / grad.size ==> grad / len(grad) ## pred
#| np.clip(self.diff, -self.delta, self.delta) ==> np.clip(self.diff, -1, 1) ## pred
#| np.clip(self.diff, -self.delta, self.delta) ==> self.diff ## pred
#| return grad / grad.size ==> return -grad / grad.size ## pred
