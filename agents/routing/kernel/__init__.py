"""The loops of a decision over all its candidates, compiled.

In Cython's pure Python mode: where Turnout is installed beside a C compiler these modules are compiled, elsewhere they run
as they stand, some times slower and to the same bits (tests/property/test_kernel.py). Whoever changes one runs `make
install`, which compiles it again. Nothing else is compiled: what calls these loops would gain nothing (infra/adr/0028).

A column is a contiguous float64 array by place, and `Any` one that is made here. Variables are declared where C shall hold
them; what is read from a float32 table is float64 before anything is computed with it.
"""
