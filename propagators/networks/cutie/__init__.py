"""Cutie: pixel memory, object memory and sensory memory of one object per sequence.

Source: Cheng et al., "Putting the Object Back into Video Object Segmentation", CVPR 2024. Parameter names are those of
https://github.com/hkchengrex/Cutie.

Shapes: B sequences with one object each; a padded frame is H x W, both multiples of 16; h = H / 16, w = W / 16, and
N = h * w tokens. Where the official code lets the objects of a clip compete, there is nobody to compete with here: the
channels for the masks of other objects would be zero and are left out.
"""
