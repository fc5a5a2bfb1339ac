"""The pixel memory of Cutie: against a reading that compares everything with everything, and its limits."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.propagators.inference.cutie.pixel_memory import MemoryLimits, PixelMemory
from rvos_ensemble.propagators.networks.cutie.affinity import (
    FrameKeys,
    best_of,
    memory_side,
    most_similar,
    query_side,
    read_values,
)

LONG = MemoryLimits(4, max_frames=4, min_frames=2, num_prototypes=3, max_num_tokens=12, buffer_tokens=4)


def keys_of(rng, tokens, channels=4):
    def draw(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    return FrameKeys(draw(tokens, channels), 1 + draw(tokens, 1) ** 2, draw(tokens, channels).sigmoid())


def naive_read(query, frames, values, k):
    """Every pixel by itself: distances in 64 bits, the k nearest tokens, the softmax of their similarities."""
    key = torch.cat([f.key for f in frames]).double().numpy()
    shrinkage = torch.cat([f.shrinkage for f in frames]).double().numpy()[:, 0]
    read = []
    for q, e in zip(query.key.double().numpy(), query.selection.double().numpy(), strict=True):
        similarity = -shrinkage * ((q - key) ** 2 * e).sum(1) / np.sqrt(key.shape[1])
        best = np.argsort(-similarity)[:k]
        weights = np.exp(similarity[best] - similarity[best].max())
        read.append((weights / weights.sum()) @ values.double().numpy()[best])
    return np.stack(read)


def read(memory, query):
    side = query_side(query.key, query.selection)
    return memory.read(lambda frame: most_similar(side, frame.as_memory, memory.limits.top_k), side)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 5), st.integers(1, 9))
def test_reading_is_the_naive_one(seed, tokens, frames, k):
    rng = np.random.default_rng(seed)
    memory = PixelMemory(MemoryLimits(k, max_frames=frames))
    added = []
    for _ in range(frames):
        added.append((keys_of(rng, tokens), torch.from_numpy(rng.standard_normal((tokens, 3)).astype(np.float32))))
        memory.add(*added[-1], permanent=False)
    query = keys_of(rng, 6)
    naive = naive_read(query, [f for f, _ in added], torch.cat([v for _, v in added]), k)
    assert np.allclose(read(memory, query).numpy(), naive, atol=1e-4)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 12))
def test_the_best_of_parts_are_the_best_of_all(seed, sizes, k):
    rng = np.random.default_rng(seed)
    query = torch.from_numpy(rng.standard_normal((5, 7)).astype(np.float32))
    parts = [torch.from_numpy(rng.standard_normal((n, 7)).astype(np.float32)) for n in sizes]
    best = best_of([most_similar(query, p, k) for p in parts], sizes, k)
    whole = most_similar(query, torch.cat(parts), k)
    for ours, all_of_them in zip(best.index, whole.index, strict=True):
        assert set(ours.tolist()) == set(all_of_them.tolist())


def test_the_similarity_is_a_weighted_distance():
    rng = np.random.default_rng(0)
    memory, query = keys_of(rng, 5), keys_of(rng, 3)
    product = query_side(query.key, query.selection) @ memory_side(memory.key, memory.shrinkage).T
    distance = (query.key[:, None] - memory.key) ** 2 * query.selection[:, None]
    assert torch.allclose(product, -distance.sum(2) * memory.shrinkage[:, 0] / 2, atol=1e-5)


def test_weights_are_a_mean():
    rng = np.random.default_rng(0)
    memory, query = keys_of(rng, 5), keys_of(rng, 3)
    candidates = most_similar(query_side(query.key, query.selection), memory.as_memory, 9)
    values, weights = read_values(torch.ones(5, 2), candidates)
    assert torch.allclose(values, torch.ones(3, 2)) and weights.shape == (3, 5)


def filled(limits, frames, permanent=(), tokens=6):
    """A memory after a number of frames, each of which is read once."""
    rng, memory = np.random.default_rng(0), PixelMemory(limits)
    for t in range(frames):
        memory.add(keys_of(rng, tokens), torch.full((tokens, 2), float(t)), permanent=t in permanent)
        read(memory, keys_of(rng, 8))
    return memory


def test_the_oldest_frame_goes_first_and_permanent_ones_stay():
    memory = filled(MemoryLimits(4, max_frames=3), 9, permanent=(0, 4))
    assert memory.values[::6, 0].tolist() == [0, 4, 7, 8] and memory.permanent == 2
    assert filled(MemoryLimits(4, max_frames=1), 3).values[::6, 0].tolist() == [0]


def test_memory_does_not_grow_with_the_clip():
    for limits in (MemoryLimits(4, max_frames=3), LONG):
        sizes = []
        for frames in (10, 11, 12, 60):
            memory = filled(limits, frames)
            sizes.append((len(memory.frames), len(memory.values)))
            assert len(memory.frames) <= limits.max_frames
            assert len(memory.values) <= limits.max_frames * 6 + (limits.max_num_tokens if memory.long else 0)
        assert memory.long is None or len(memory.long.key) <= limits.max_num_tokens
        assert len(memory.values) <= max(tokens for _, tokens in sizes[:3]) + limits.num_prototypes


def test_a_consolidation_keeps_the_tokens_that_were_read_most():
    rng, memory = np.random.default_rng(0), PixelMemory(LONG)
    frames = [keys_of(rng, 6) for _ in range(4)]
    for t, frame in enumerate(frames[:3]):
        memory.add(frame, torch.full((6, 2), float(t)), permanent=False)
    for token in (5, 5, 2, 2, 2, 4):  # of frame 1, which is consolidated next
        query = FrameKeys(frames[1].key[[token]], frames[1].shrinkage[[token]], torch.ones(1, 4))
        read(memory, query)
    usage = memory.usage[0, 6:12]
    memory.add(frames[3], torch.full((6, 2), 3.0), permanent=False)
    assert memory.frames == [frames[0], frames[3]] and len(memory.long.key) == 3
    candidates = torch.cat([frames[1].key, frames[2].key])
    chosen = [int((candidates == key).all(1).nonzero()) for key in memory.long.key]
    assert usage.argmax() in chosen and 2 in chosen
    values = memory.values[12:]  # means of the consolidated frames, which are 1 and 2
    assert (values >= 1).all() and (values <= 2).all()
