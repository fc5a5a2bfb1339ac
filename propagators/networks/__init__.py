"""The networks of AOT and DeAOT: encoders, transformer blocks, identity bank, decoder, and the loader of their weights.

Parameter names are those of the official code, so that its checkpoints load as they are. Source: Yang et al.,
"Associating Objects with Transformers for Video Object Segmentation" (AOT), NeurIPS 2021; Yang and Yang, "Decoupling
Features in Hierarchical Propagation for Video Object Segmentation" (DeAOT), NeurIPS 2022.
"""
