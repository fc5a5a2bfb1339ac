"""Grounding by words without a trained network: a parser of expressions, one file per kind of cue, and the choice."""
