"""Modules in a list with weight and grad_weight, as in the first torch."""
import numpy as np

class Linear:
    def __init__(self, n_in, n_out, rng):
        self.weight, self.bias = rng.normal(size=(n_out, n_in)), rng.normal(size=n_out)
        self.grad_weight, self.grad_bias = np.zeros_like(self.weight), np.zeros_like(self.bias)

    def forward(self, input):
        self.input = input
        return input @ self.weight.T + self.bias

    def backward(self, grad_output):
        self.grad_weight += grad_output.T @ self.input
        self.grad_bias += grad_output.sum(0)
        return grad_output @ self.weight

class Sigmoid:
    def forward(self, input):
        self.output = 1 / (1 + np.exp(-input))
        return self.output

    def backward(self, grad_output):
        return grad_output * self.output * (1 - self.output)

class Sequential:
    def __init__(self, *modules):
        self.modules = list(modules)

    def forward(self, input):
        for module in self.modules:
            input = module.forward(input)
        return input

    def backward(self, grad):
        for module in reversed(self.modules):
            grad = module.backward(grad)
        return grad

# --- data
net, x = Sequential(Linear(4, 5, rng), Sigmoid(), Linear(5, 2, rng)), rng.normal(size=(6, 4))
# --- check
report = engine.check_object(net, x)
# --- bugs
#| self.output * (1 - self.output) ==> (1 - self.output) ** 2 ## modules[0].weight, modules[0].bias, input
#| self.grad_bias += grad_output.sum(0) ==> self.grad_bias += grad_output[0] ## modules[2].bias, modules[0].bias
#| self.grad_weight += grad_output.T @ self.input ==> self.grad_weight -= grad_output.T @ self.input ## modules[2].weight, modules[0].weight
#| return grad_output @ self.weight ==> return 2 * grad_output @ self.weight ## input, modules[0].weight, modules[0].bias
