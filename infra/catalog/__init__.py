"""Today's models: what they can do (models.yaml) and what they cost (genai-prices)."""
