"""forward and backward return nothing: output, dinputs and dweights are attributes."""
import numpy as np

class Layer_Dense:
    def __init__(self, n_inputs, n_neurons, rng, l2=0.01):
        self.weights = 0.3 * rng.normal(size=(n_inputs, n_neurons))
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.maximum(0, inputs @ self.weights + self.biases)

    def backward(self, dvalues):
        drelu = dvalues.copy()
        drelu[self.output <= 0] = 0
        self.dweights = self.inputs.T @ drelu
        self.dbiases = np.sum(drelu, axis=0, keepdims=True)
        self.dinputs = drelu @ self.weights.T

# --- data
layer, x = Layer_Dense(4, 5, rng), rng.normal(size=(6, 4))
# --- check
report = engine.check_object(layer, x)
# --- bugs
#| drelu[self.output <= 0] = 0 ==> drelu[self.inputs.sum(1) <= 0] = 0 ## weights, biases, inputs
#| self.inputs.T @ drelu ==> self.inputs.T @ dvalues ## weights
#| np.sum(drelu, axis=0, keepdims=True) ==> np.sum(drelu, axis=0, keepdims=True) + 1e-4 ## biases
#| drelu @ self.weights.T ==> drelu @ self.weights.T * self.weights.max() ## inputs
