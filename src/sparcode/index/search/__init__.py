"""Search: arguments, the kernel, the oracle it must agree with, and exact search over item vectors."""
