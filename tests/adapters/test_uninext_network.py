"""UNINEXT's network: the official names and numbers, and what must not change them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.fanin import fill
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.families.uninext import UNINEXTFamily
from rvos_ensemble.adapters.inference.preprocess import MEAN_255, STD_255
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.layers import sine_map
from rvos_ensemble.adapters.networks.text import bert
from rvos_ensemble.adapters.networks.uninext.early_fusion import BiAttention
from rvos_ensemble.adapters.networks.uninext.heads import double
from rvos_ensemble.adapters.networks.uninext.layout import Layout
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext

GOLDEN = {"r50": "resnet50", "convnext_large": "convnext_large", "vit_huge": "vit_huge"}
WORDS = 32


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TinyBody(nn.Module):
    """A backbone of three convolutions."""

    def __init__(self, divisor):
        super().__init__()
        self.divisor, self.channels = divisor, (8, 12, 16)
        self.c8, self.c16, self.c32 = (nn.Conv2d(a, b, 3, s, 1) for a, b, s in ((3, 8, 8), (8, 12, 2), (12, 16, 2)))

    def forward(self, x):
        x8 = self.c8(x).relu()
        x16 = self.c16(x8).relu()
        return [x8, x16, self.c32(x16).relu()]


@pytest.fixture(scope="module", params=[1, 32], ids=["unpadded", "padded"])
def tiny(request):
    language = nn.Module()
    language.config = SimpleNamespace(hidden_size=WORDS)
    return fill(Uninext(TinyBody(request.param), language, queries=24, layers=2))


@pytest.fixture(scope="module")
def text():
    """Three expressions of 3, 6 and 4 tokens; what lies in the padding is large, so that a leak is seen."""
    padding = torch.arange(6) >= torch.tensor([3, 6, 4])[:, None]
    return Text(noise(3, 6, WORDS).masked_fill(padding[..., None], 100), padding)


def frames_of(tiny, count=3):
    return noise(count, 3, 91, 150, seed=5)


def same(a, b, tolerance=1e-5):
    scale = float(b.abs().max())
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= tolerance * scale


# ----------------------------------------------------------------------------------------------- official names
@pytest.mark.parametrize("text_encoder", ["tinytext", "bertbase"])
@pytest.mark.parametrize("name", GOLDEN)
def test_names_and_shapes_are_the_official_ones(shared, name, text_encoder):
    geometry = {"tinytext": (1000, 2), "bertbase": (30522, 12)}[text_encoder]
    with torch.device("meta"):
        network = Uninext(GOLDEN[name], bert(*geometry))
    ours = {key: str(tuple(value.shape)) for key, value in network.state_dict().items()}
    rows = (shared / f"golden/uninext/keys_{name}_{text_encoder}.txt").read_text().splitlines()
    official = dict(row.split("\t")[:2] for row in rows if not row.startswith("#"))
    assert ours == {key: shape for key, shape in official.items() if not key.startswith(UNINEXTFamily.unused)}
    for beginning in UNINEXTFamily.unused:
        assert any(key.startswith(beginning) for key in official), f"nothing begins with {beginning}"


# --------------------------------------------------------------------------------------------- official numbers
def near_ties(ratings, queries):
    """Pairs of cells at adjacent ranks whose ratings differ by less than single precision tells apart here."""
    best = ratings.topk(queries + 1)
    gaps = best.values[:-1] - best.values[1:]
    return [tuple(best.indices[i : i + 2].tolist()) for i in (gaps < 2e-6).nonzero().flatten().tolist()]


@pytest.mark.parametrize(
    "name", ["r50", *(pytest.param(n, marks=pytest.mark.slow) for n in ("convnext_large", "vit_huge"))]
)
def test_numbers_are_the_official_ones(shared, name):
    """The rank of a cell picks the query that starts there, so that two cells rated alike up to rounding may swap
    theirs. Then one of the orders of such pairs must give the official numbers, to the same 1e-5 as without ties."""
    golden = np.load(shared / f"golden/uninext/golden_{name}.npz")
    network = fill(Uninext(GOLDEN[name], bert(1000, 2)))
    states = torch.from_numpy(golden["text_hidden"])
    with torch.no_grad():
        same(network.language_model(torch.from_numpy(golden["input_ids"])).last_hidden_state, states)
    words = Text(states, torch.zeros(states.shape[:2], dtype=torch.bool))
    frames = torch.from_numpy((golden["frames"].transpose(0, 2, 3, 1) - MEAN_255) / STD_255)
    rating, ratings, swaps = network.detr.detr.class_embed[-1], [], []

    def swap(module, inputs, output):
        ratings.append(output[0, :, 0].clone())
        for a, b in swaps:
            output[0, [a, b]] = output[0, [b, a]]
        return output

    rating.register_forward_hook(swap)
    for t in range(len(frames)):
        features = network.encode(frames[t : t + 1].permute(0, 3, 1, 2))
        official = {key: torch.from_numpy(golden[f"{key}_{t}"]) for key in ("score", "mask_best")}

        def errors(features=features, official=official):
            answer = network.answer(features, words)
            score, mask = answer.query_scores[0, 0].sort().values, answer.logits[0, 0]
            worst = float((mask - official["mask_best"][0]).abs().max() / official["mask_best"].abs().max())
            return float((score - official["score"].sort().values).abs().max()), worst

        swaps.clear()
        ratings.clear()
        found = [errors()]
        assert max(found[0]) <= 2e-3
        ties = near_ties(ratings[0], 900)
        assert len(ties) <= 4, "random weights that do not tell cells apart"
        orders = itertools.chain.from_iterable(itertools.combinations(ties, n) for n in range(1, len(ties) + 1))
        while max(found[-1]) > 1e-5:
            swaps[:] = next(orders, ()) or pytest.fail(f"frame {t}: {found}")
            found.append(errors())


# --------------------------------------------------------------------------------- what must not change the numbers
def test_expressions_together_are_answered_as_one_by_one(tiny, text):
    features = tiny.encode(frames_of(tiny))
    together = tiny.answer(features, text)
    for i in range(len(text)):
        alone = tiny.answer(features, text[i : i + 1])
        assert torch.equal(together.query[i], alone.query[0])
        for name in ("query_scores", "boxes", "scores", "logits"):
            same(getattr(together, name)[i], getattr(alone, name)[0])


@pytest.mark.parametrize("step", [1, 2, 4])
def test_frames_per_step_changes_memory_only(tiny, text, step):
    whole, steps = tiny.encode(frames_of(tiny)), tiny.encode(frames_of(tiny), step)
    same(steps.tokens, whole.tokens)
    a, b = tiny.answer(whole, text), tiny.answer(whole, text, step)
    assert torch.equal(a.query, b.query)
    same(b.logits, a.logits)
    same(b.boxes, a.boxes)


def test_frames_do_not_see_each_other(tiny, text):
    frames = frames_of(tiny)
    together = tiny.answer(tiny.encode(frames), text)
    alone = tiny.answer(tiny.encode(frames[1:2]), text)
    same(together.logits[:, 1:2], alone.logits)


def test_the_selected_mask_is_that_among_all(tiny, text):
    features = tiny.encode(frames_of(tiny))
    one, every = tiny.answer(features, text), tiny.answer(features, text, masks_for="all")
    none = tiny.answer(features, text, masks_for="none")
    assert none.logits is None
    for answer in (every, none):
        assert torch.equal(answer.query, one.query)
    assert every.logits.shape[:3] == every.scores.shape == every.boxes.shape[:3] == (3, 24, 3)
    for e, t in itertools.product(range(3), range(3)):
        q = one.query[e, t]
        same(one.logits[e, t], every.logits[e, q, t])
        assert torch.equal(one.boxes[e, t], every.boxes[e, q, t])
        assert one.scores[e, t] == every.scores[e, q, t] == one.query_scores[e, t].max()


def test_a_query_may_be_given(tiny, text):
    features = tiny.encode(frames_of(tiny))
    every = tiny.answer(features, text, masks_for="all")
    given = torch.tensor([3, 0, 23])
    answer = tiny.answer(features, text, query=given)
    assert torch.equal(answer.query, given[:, None].expand(3, 3))
    for e in range(3):
        same(answer.logits[e], every.logits[e, given[e]])
        assert torch.equal(answer.scores[e], every.scores[e, given[e]])


def test_the_transformer_runs_in_float32_under_autocast(tiny, text):
    features = tiny.encode(frames_of(tiny))
    plain = tiny.answer(features, text)
    with torch.autocast("cpu", torch.bfloat16):
        low = tiny.encode(frames_of(tiny))
        assert low.tokens.dtype == torch.float32
        same(low.tokens, features.tokens, tolerance=0.05)
        assert torch.equal(tiny.answer(features, text).logits, plain.logits)


def test_a_frame_with_fewer_cells_than_queries_is_refused(tiny):
    with pytest.raises(InputError, match="24 queries"):
        tiny.encode(noise(1, 3, 16, 16))


# ------------------------------------------------------------------------------------------------------ the parts
def test_both_attentions_equal_themselves_with_every_projection_made():
    net, (b, s, n), heads = fill(BiAttention(6, 10, inner=32, heads=4)), (2, 11, 5), 4
    image, words = noise(b, s, 6), noise(b, n, 10, seed=1)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        found = net(image, words, padding)

        def of_heads(x):
            return x.unflatten(2, (heads, -1)).transpose(1, 2)

        query, key = of_heads(net.v_proj(image)), of_heads(net.l_proj(words))
        seen, told = of_heads(net.values_v_proj(image)), of_heads(net.values_l_proj(words))
        score = query @ key.transpose(2, 3) / 8**0.5
        to_image = score.masked_fill(padding[:, None, None], -1e30).softmax(3) @ told
        to_words = score.transpose(2, 3).softmax(3) @ seen
        same(found[0], net.out_v_proj(to_image.transpose(1, 2).flatten(2)))
        same(found[1], net.out_l_proj(to_words.transpose(1, 2).flatten(2)))


def test_layout_without_padding():
    sizes = [(6, 10), (3, 5)]
    layout = Layout.of([torch.ones(size, dtype=torch.bool) for size in sizes], 16)
    assert layout.padding is None
    assert layout.sizes == sizes
    assert torch.equal(layout.share, torch.ones(2, 2))
    same(layout.position, torch.cat([sine_map(size, 16, torch.device("cpu")) for size in sizes]))
    row, column = 2, 7
    x, y = (column + 0.5) / 10, (row + 0.5) / 6
    same(layout.centre[row * 10 + column], torch.tensor([x, y]))
    same(layout.box[row * 10 + column].sigmoid(), torch.tensor([x, y, 0.05, 0.05]))
    same(layout.box[60 + 1 * 5 + 2].sigmoid(), torch.tensor([0.5, 0.5, 0.1, 0.1]))


def test_layout_with_padding():
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[:3, :6] = True
    layout = Layout.of([mask], 8)
    assert torch.equal(layout.padding, ~mask.view(1, -1))
    assert layout.share.tolist() == [[0.75, 0.75]]
    same(layout.centre[0], torch.tensor([0.5 / 6, 0.5 / 3]))  # of the image, not of the padded input
    assert torch.equal(layout.box.isfinite().all(1), mask.flatten())


def test_doubling_interpolates_between_the_cells():
    x = noise(1, 2, 3, 5)
    y = double(x)
    assert y.shape == (1, 2, 6, 10)
    assert torch.equal(y[..., 1::2, 1::2], x)  # each cell keeps its value at the far corner of its four
    same(y[..., 1::2, 2::2], (x[..., :-1] + x[..., 1:]) / 2)
    assert torch.equal(y[..., :1, :], y[..., 1:2, :])
