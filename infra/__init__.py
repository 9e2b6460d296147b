"""How Turnout runs: command line, embedded servers, simulators, deployment files."""
