"""What several protocols need: the base classes, the files of masks, and parallel scoring."""
