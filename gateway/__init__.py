"""REST over registry, trainer and inference, in the shape OpenAI's clients know."""
