"""A numpy job: arrays of a few sizes in vectorized steps, and a Python loop over small ones."""

import numpy as np

random = np.random.default_rng(7)

samples = random.normal(size=(300, 20_000))
for _ in range(9):
    centred = samples - samples.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True))
    order = np.argsort(scaled[:, :2_000], axis=1)
    samples = np.where(np.abs(scaled) > 3.0, 0.0, scaled)

points = random.normal(size=(4_000, 3))
lengths = []
for turn in range(35):
    for point in points:
        moved = point * 0.5 + turn
        lengths.append(float((moved * moved).sum()))
