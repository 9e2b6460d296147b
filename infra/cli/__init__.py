"""The command line: one module a command, one table in main."""
