"""Benchmarks on real parts: whole processes on loopback."""
