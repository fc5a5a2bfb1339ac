"""What an ablation hands out: tables, figures and the best setting as a recipe."""
