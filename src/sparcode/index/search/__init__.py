"""Search: arguments, kernels, the oracle they must agree with, and exact search over item vectors."""
