"""What steps are made of: rules, jurors and networks that several steps share, or that would make one file too long."""
