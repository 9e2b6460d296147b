"""The call itself: one attempt at one deployment over HTTP, and what came of it as a value."""
