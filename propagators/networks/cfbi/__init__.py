"""The networks CFBI and CFBI+, with the parameter names of the official code.

Source: Yang, Wei and Yang, "Collaborative Video Object Segmentation by Foreground-Background Integration" (CFBI),
ECCV 2020, and "Collaborative Video Object Segmentation by Multi-Scale Foreground-Background Integration" (CFBI+),
TPAMI 2021; https://github.com/z-x-yang/CFBI (BSD-3-Clause), of which nothing is copied.
"""
