"""Text encoders and image backbones of transformers, built from their configuration."""
