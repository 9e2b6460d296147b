"""What is said: identifiers, units, errors, requests, answers, events, state, configuration and their wire formats."""
