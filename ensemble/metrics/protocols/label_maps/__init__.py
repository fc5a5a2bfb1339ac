"""Label maps: ground truth and predictions in which the value of a pixel is the number of its object."""
