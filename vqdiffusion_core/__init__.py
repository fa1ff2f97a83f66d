"""VQ-Diffusion on PyTorch, without an editor. In reading order:

specs       what defines a model's shape
schedule    how noisy a token is at time t, and how a run is spaced
posterior   the forward process and its exact reversal, for any jump
transformer, vqgan, text_encoder    the networks
guidance    which prompts speak, by token and time
inpainting  which tokens are drawn anew
canvas      images larger than the network's own
denoiser    network -> log p(x_0 | x_t)
truncation  what of it may be drawn
samplers    generators that draw tokens
settings    what a run leaves open
pipeline    from prompt to image
checkpoints model files
training    how the embedded pocket model was made
"""
