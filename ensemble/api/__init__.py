"""The public functions that are more than one call into the package: propagate, evaluate, run."""
