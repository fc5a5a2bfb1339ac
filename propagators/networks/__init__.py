"""The networks of AOT and DeAOT: encoders, transformer blocks, identity bank and decoder.

Parameters have the names of the official code, so that its checkpoints can be loaded directly. Source: Yang et al.,
"Associating Objects with Transformers for Video Object Segmentation" (AOT), NeurIPS 2021; Yang and Yang, "Decoupling
Features in Hierarchical Propagation for Video Object Segmentation" (DeAOT), NeurIPS 2022.
"""
