"""Files of weights: which network a file holds, whether it fits, and the base class of network families."""
