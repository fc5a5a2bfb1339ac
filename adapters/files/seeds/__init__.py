"""Seeds on disk: masks of single instances in single frames, from which they are propagated; one reader per format."""
