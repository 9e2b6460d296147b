"""What is known: pure folds of the event log, and its rows for SQL."""
