"""VQ-Diffusion on PyTorch, without an editor. In reading order:

specs       what defines a model's shape
schedule    how noisy a token is at time t
posterior   the forward process and its exact reversal, for any jump
transformer, vqgan, text_encoder    the networks
denoiser    network -> log p(x_0 | x_t): guidance, truncation
samplers    generators that draw tokens
inpainting  which tokens are drawn anew
pipeline    from prompt to picture
checkpoints model files
training    how the embedded pocket model was made
"""
