"""Which deployment serves a request: a pure decision. No I/O, no clock, no randomness of its own."""
