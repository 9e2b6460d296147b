"""What the words of a prompt say about its task and its difficulty: integer features and small linear models."""
