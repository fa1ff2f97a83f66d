"""The networks: tokens, images and text in and out. They know no diffusion."""
