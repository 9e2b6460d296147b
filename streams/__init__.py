"""How it moves: settings, topics, the Faust apps, the producer, state and the client."""
