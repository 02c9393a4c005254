"""Third floor: second derivatives through time, by hand: Hessian-vector products, and the curvature that they show."""

from engine.second_derivatives.products import Hessian as Hessian
from engine.second_derivatives.products import hvp as hvp
from engine.second_derivatives.spectrum import Eigenvalues as Eigenvalues
from engine.second_derivatives.spectrum import largest_eigenvalues as largest_eigenvalues
