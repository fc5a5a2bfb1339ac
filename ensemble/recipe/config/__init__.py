"""From a recipe file and the command line to one resolved config."""
