"""The engine's gradient checks beside torch.autograd.gradcheck, on bugs and on right code."""
