"""What language models and people say about expressions: whether they refer to anything, and which source is best."""
