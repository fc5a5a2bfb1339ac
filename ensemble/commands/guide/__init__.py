"""What `help`, `list` and shell completion know about keys: all of it is read from the tables that define them."""
