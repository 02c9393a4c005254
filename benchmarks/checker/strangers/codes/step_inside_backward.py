"""A layer whose backward takes the learning rate and makes the step itself."""
import numpy as np

class Dense:
    def __init__(self, input_size, output_size, rng):
        self.weights = rng.normal(size=(output_size, input_size))
        self.bias = rng.normal(size=(output_size, 1))

    def forward(self, input):
        self.input = input
        return self.weights @ self.input + self.bias

    def backward(self, output_gradient, learning_rate):
        weights_gradient = output_gradient @ self.input.T
        input_gradient = self.weights.T @ output_gradient
        self.weights -= learning_rate * weights_gradient
        self.bias -= learning_rate * output_gradient
        return input_gradient

# --- data
layer, x = Dense(4, 3, rng), rng.normal(size=(4, 1))
# --- check
report = engine.check_object(layer, x)
# --- bugs
#| input_gradient = self.weights.T @ output_gradient ==> input_gradient = self.weights.T @ output_gradient * 0.5 ## input
#| output_gradient @ self.input.T ==> output_gradient @ np.abs(self.input.T) ## weights
#| self.bias -= learning_rate * output_gradient ==> self.bias += learning_rate * output_gradient ## bias
#| return input_gradient ==> return self.weights.T @ output_gradient ## input
