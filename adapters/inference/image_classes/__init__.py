"""The optional extra `[open]`: a classifier of images, the names of its classes, and an encoder of words."""
