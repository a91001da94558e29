"""A head that is read in 8 bits first: the same choices as by the whole head, and few weights read in full."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from minigpt import decoding, products, screening
from minigpt.generation import Draw, generate
from minigpt.initialisation import build
from minigpt.model import ModelConfig
from minigpt.randomness import stream
from minigpt.screening import Screen, ScreenedHead

TOKENS, WIDTH = 3000, 64

pytestmark = pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX"), reason="torch has no kernel for bytes on this CPU"
)


@pytest.fixture(autouse=True)
def torchs_own_again() -> Iterator[None]:
    yield
    products.use("torch")


def random(*shape: int, name: str = "") -> Tensor:
    return torch.randn(shape, generator=stream(1, "test", name))


def spoilt(kind: str) -> Tensor:
    """Weights (V, C), usual ones and such as are hard to round."""
    weight = random(TOKENS, WIDTH) * 0.1
    match kind:
        case "far from 0":
            weight += 10 * random(WIDTH, name="mean")
        case "outliers":
            weight[::97, ::5] *= 300
        case "next to nothing":
            weight[:, ::2] *= 1e-9
        case "every number 0":
            weight[:, ::3] = 0
        case "every token twice":
            weight[1::2] = weight[::2]
    return weight


KINDS = ["usual", "far from 0", "outliers", "next to nothing", "every number 0", "every token twice"]


def head_of(weight: Tensor, library: products.Library = "onednn") -> ScreenedHead:
    products.use(library)
    layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    layer.weight.data = weight.clone()
    screen = Screen(layer.weight.data)
    return ScreenedHead(decoding.Blocks(layer) if library == "onednn" else decoding.Columns(layer), screen)


@torch.no_grad()
@pytest.mark.parametrize("library", ["torch", "onednn"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_greatest_logits_are_among_those_kept_and_exact(kind: str, library: products.Library) -> None:
    weight = spoilt(kind)
    head, whole = head_of(weight, library), (weight.double() @ random(WIDTH, 20, name="x").double()).T
    for x, logits in zip(random(WIDTH, 20, name="x").T, whole, strict=True):
        for count in (1, 5, 40):
            kept = head.greatest(x[None], count)
            assert kept[logits.topk(count).indices].isfinite().all()
            found = kept.isfinite()
            torch.testing.assert_close(kept[found].double(), logits[found], atol=1e-3, rtol=1e-5)
            assert (kept[~found] == -torch.inf).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_no_logit_errs_by_more_than_it_says(kind: str) -> None:
    """With rows of x that are all at their worst: each number has the sign of what the rounding did to one token."""
    weight = spoilt(kind)
    screen = Screen(weight)
    rounded = torch.cat([torch.ops.quantized.embedding_bag_byte_unpack(block).T for block in screen.bytes])[:TOKENS]
    for token in range(0, TOKENS, 101):
        x = (rounded - weight)[token].sign()
        error = ((rounded - weight).double() @ x.double()).abs()
        bound = (screen.errors @ x.abs()).repeat_interleave(screening.BLOCK_WIDTH)[:TOKENS]
        assert (error <= bound).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["usual", "far from 0"])
def test_few_are_read_in_full(kind: str) -> None:
    screen = head_of(spoilt(kind)).screen
    counts = [len(screen.candidates(x, 1, None)) for x in random(20, WIDTH, name="x")]
    assert sum(counts) < 20 * 10


@torch.no_grad()
@pytest.mark.parametrize("draw", [(0.0, None), (1e-7, 3), (0.7, None), (1.0, None), (1.4, None), (1.0, 5), (1.4, 40)])
@pytest.mark.parametrize("top_p", [None, 0.8])
@pytest.mark.parametrize("kind", ["usual", "outliers"])
def test_a_token_is_the_one_that_the_whole_head_draws(
    kind: str, draw: tuple[float, int | None], top_p: float | None
) -> None:
    head, xs = head_of(spoilt(kind)), random(200, 1, WIDTH, name="x")
    screened, whole = (Draw(*draw, top_p, generator=stream(7, "draw")) for _ in range(2))
    chosen = [screened.choose_by(head, x) for x in xs]
    assert chosen == [whole.choose(head(x)[0]) for x in xs]
    assert len(set(chosen)) > 20  # of "outliers" 31 are likeliest by far


@torch.no_grad()
@pytest.mark.parametrize("weight", [torch.zeros(TOKENS, WIDTH), torch.full((TOKENS, WIDTH), torch.nan)])
def test_where_none_stands_out_the_whole_head_is_read(weight: Tensor) -> None:
    head, x = head_of(weight), random(1, WIDTH)
    for count in (1, 5, screening.MOST_TOKENS + 1):
        torch.testing.assert_close(head.greatest(x, count), head(x)[0], equal_nan=True)


@torch.no_grad()
@pytest.mark.parametrize("library", ["torch", "onednn"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_writes_the_same_text(library: products.Library, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    products.use(library)
    config = ModelConfig(context_length=32, width=WIDTH, heads=2, layers=2, tied_head=tied)
    usual, ready = (build(config, TOKENS, seed=1) for _ in range(2))
    monkeypatch.setattr(screening, "LEAST_BYTES", 0)
    decoding.prepare(ready)
    assert isinstance(ready.head, ScreenedHead)
    for draw in ((0.0, None), (1.0, None), (1.0, 5)):
        texts = [
            list(generate(model, [[3, 1, 4]], [Draw(*draw, generator=stream(1, "draw"))], 40))
            for model in (usual, ready)
        ]
        assert texts[0] == texts[1]
    together = list(generate(ready, [[3, 1, 4], [1, 5, 9]], [Draw(), Draw()], 20))
    assert [new[0] for new in together] == [new for [new] in generate(usual, [[3, 1, 4]], [Draw()], 20)]


@pytest.mark.parametrize(("tokens", "worth"), [(50_257, True), (1024, False)])
def test_only_a_head_that_no_cache_holds_is_read_twice(tokens: int, worth: bool) -> None:
    assert screening.gains(torch.empty(tokens, 768, device="meta")) == worth
