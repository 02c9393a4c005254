"""Functions as static methods with a context that saves tensors."""
import numpy as np

class Context:
    def save_for_backward(self, *values):
        self.saved = values

class MulTanh:
    @staticmethod
    def forward(ctx, a, b):
        c = np.tanh(a) * b
        ctx.save_for_backward(a, b)
        return c

    @staticmethod
    def backward(ctx, grad_output):
        a, b = ctx.saved
        return grad_output * b * (1 - np.tanh(a) ** 2), grad_output * np.tanh(a)

# --- data
a, b = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
# --- check
def forward(a, b):
    ctx = Context()
    return MulTanh.forward(ctx, a, b), ctx
report = engine.check_gradients(forward, MulTanh.backward, [a, b])
# --- bugs
#| (1 - np.tanh(a) ** 2), ==> (1 + np.tanh(a) ** 2), ## a
#| grad_output * np.tanh(a) ==> grad_output * a ## b
#| grad_output * b * ==> grad_output * a * ## a
#| return grad_output * b * ==> return np.minimum(grad_output, 0.7) * b * ## a
