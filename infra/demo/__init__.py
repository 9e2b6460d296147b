"""`turnout demo`: traffic with an outage in the middle, watched as it runs and audited from the log at its end."""
