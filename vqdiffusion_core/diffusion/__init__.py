"""Discrete diffusion over tokens (Gu et al. 2022): from a schedule to a sampled token grid."""
