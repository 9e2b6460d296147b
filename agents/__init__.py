"""What is done with a request: decide, call, fall back, probe."""
