"""Gaussian diffusion: processes (edm, ddpm, flow, and a softmax on their paths), samplers, completion."""

from genraven.methods.gaussian.method import GaussianDiffusion
from genraven.methods.gaussian.settings import GaussianSampling

__all__ = ["GaussianDiffusion", "GaussianSampling"]
