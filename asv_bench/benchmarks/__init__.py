"""Benchmarks of fastbce: one file per loss, and the cost of calling, importing and of memory."""
