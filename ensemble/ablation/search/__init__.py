"""A search over ranges of any keys of a recipe: Optuna proposes, clips decide, and the other half of them reports."""
