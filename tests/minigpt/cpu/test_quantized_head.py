"""A head that is read in 8 bits first: the same choices as by the whole head, and few weights read in full."""

import pytest
import torch
from torch import Tensor, nn

from minigpt.config import MatmulLibrary
from minigpt.cpu import quantized_head
from minigpt.cpu import quantized_head as screening
from minigpt.cpu.matmul import use_matmul_library
from minigpt.cpu.quantized_head import MAX_WANTED, QuantizedHead, QuantizedWeights, is_worthwhile
from minigpt.cpu.weight_layouts import BlockedLinear, ColumnMajorLinear
from minigpt.generation.generate import generate
from minigpt.generation.prepare import prepare_for_generation
from minigpt.generation.sampling import Sampler
from minigpt.model.config import ModelConfig
from minigpt.model.init import build_model
from minigpt.randomness import stream
from tests.minigpt.conftest import random

TOKENS, WIDTH = 3000, 64

pytestmark = [
    pytest.mark.usefixtures("torchs_own_again"),
    pytest.mark.skipif(
        not torch.backends.cpu.get_cpu_capability().startswith("AVX"), reason="torch has no kernel for bytes here"
    ),
]


def spoilt(kind: str) -> Tensor:
    """Weights (V, C), usual ones and such as are hard to round."""
    weight = random(TOKENS, WIDTH) * 0.1
    match kind:
        case "far from 0":
            weight += 10 * random(WIDTH, seed=2)
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


def head_of(weight: Tensor, library: MatmulLibrary = "onednn") -> QuantizedHead:
    use_matmul_library(library)
    layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    layer.weight.data = weight.clone()
    screen = QuantizedWeights(layer.weight.data)
    return QuantizedHead(BlockedLinear(layer) if library == "onednn" else ColumnMajorLinear(layer), screen)


@torch.no_grad()
@pytest.mark.parametrize("library", ["torch", "onednn"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_greatest_logits_are_among_those_kept_and_as_the_whole_head_has_them(
    kind: str, library: MatmulLibrary
) -> None:
    head = head_of(spoilt(kind), library)
    for x in random(20, 1, WIDTH, seed=3):
        logits = head(x)[0]
        for wanted in (1, 5, 40):
            kept = head.greatest(x, wanted)
            found = kept.isfinite()
            assert found[logits.topk(wanted).indices].all()
            assert (kept[~found] == -torch.inf).all()
            if library == "onednn":
                assert torch.equal(kept[found], logits[found])
            else:  # MKL may sum the rows of a smaller matrix in another order, and great numbers cancel each other here
                torch.testing.assert_close(kept[found], logits[found], atol=1e-3, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_no_logit_errs_by_more_than_it_says(kind: str) -> None:
    """With numbers of x that are all at their worst for the token of each block that was rounded worst."""
    weight = spoilt(kind)
    screen = QuantizedWeights(weight)
    unpacked = [torch.ops.quantized.embedding_bag_byte_unpack(block).T for block in screen.packed]
    wrong = torch.cat(unpacked)[:TOKENS] - weight
    for number, block in enumerate(wrong.split(screening.BLOCK_WIDTH)):
        x = block[block.abs().sum(1).argmax()].sign()
        logits, errors = screen.logits(x)
        exact = (weight.double() @ x.double()).split(screening.BLOCK_WIDTH)[number]
        found = (logits[number, : len(exact)].double() - exact).abs().max() / errors[number]
        assert 0.3 < found <= 1 or kind == "every number 0"


@torch.no_grad()
@pytest.mark.parametrize("inputs", [4, 8, 64, 256])
def test_sums_that_round_each_number_the_worst_way_err_by_no_more(inputs: int) -> None:
    """Weights that 8 bits hold exactly, so that only the rounding of the sums is left, which begin with a great one."""
    weight = torch.full((screening.BLOCK_WIDTH, inputs), 254.0)
    weight[0], weight[1] = 127.0, 382.0
    weight[:, 0], weight[0, 0] = 1.0111, -1.0111
    screen = QuantizedWeights(weight)
    greatest = 0.0
    for share in torch.linspace(0.9, 1, 200):
        x = torch.full((inputs,), share.item() / 127)
        x[0] = 2.0**24
        logits, errors = screen.logits(x)
        whole = (weight.double() @ x.double()) - logits[0].double()
        greatest = max(greatest, (whole.abs() / errors[0]).max().item())
    assert 0.1 < greatest <= 1


@torch.no_grad()
@pytest.mark.parametrize("library", ["torch", "onednn"])
@pytest.mark.parametrize("kind", ["usual", "far from 0"])
def test_few_are_read_in_full(kind: str, library: MatmulLibrary) -> None:
    head = head_of(spoilt(kind), library)
    counts = [head.greatest(x, 1).isfinite().sum() for x in random(20, 1, WIDTH, seed=3)]
    assert sum(counts) < 20 * 10


@torch.no_grad()
@pytest.mark.parametrize("draw", [(0.0, None), (1e-7, 3), (0.7, None), (1.0, None), (1.4, None), (1.0, 5), (1.4, 40)])
@pytest.mark.parametrize("top_p", [None, 0.8])
@pytest.mark.parametrize("kind", ["usual", "outliers", "every token twice"])
def test_a_token_is_the_one_that_the_whole_head_draws(
    kind: str, draw: tuple[float, int | None], top_p: float | None
) -> None:
    head, xs = head_of(spoilt(kind)), random(200, 1, WIDTH, seed=3)
    screened, whole = (Sampler(*draw, top_p, generator=stream(7, "draw")) for _ in range(2))
    chosen = [screened.choose_by(head, x) for x in xs]
    assert chosen == [whole.choose(head(x)[0]) for x in xs]
    assert len(set(chosen)) > 20  # of "outliers" 31 are likeliest by far


@torch.no_grad()
def test_what_is_added_counts_for_the_least_and_for_the_most() -> None:
    """Tokens that only the addition makes the greatest, or keeps from it."""
    head = head_of(spoilt("usual"))
    for x, plus in zip(random(50, 1, WIDTH, seed=3), random(50, TOKENS, seed=4) * 20, strict=True):
        kept = head.greatest(x, 1, plus)
        assert (kept + plus).argmax() == (head(x)[0] + plus).argmax()
        assert kept.isfinite().sum() < 10


@torch.no_grad()
@pytest.mark.parametrize("weight", [torch.zeros(TOKENS, WIDTH), torch.full((TOKENS, WIDTH), torch.nan)])
def test_where_none_stands_out_the_whole_head_is_read(weight: Tensor) -> None:
    head, x = head_of(weight), random(1, WIDTH)
    for wanted in (1, 5, MAX_WANTED + 1):
        torch.testing.assert_close(head.greatest(x, wanted), head(x)[0], equal_nan=True)


@torch.no_grad()
def test_where_nearly_all_are_wanted_the_whole_head_is_read() -> None:
    usual, small = head_of(spoilt("usual")), head_of(random(50, WIDTH))
    for head, wanted in ((usual, MAX_WANTED + 1), (usual, TOKENS + 1), (small, 51)):
        x = random(1, WIDTH, seed=3)
        assert torch.equal(head.greatest(x, wanted), head(x)[0])
        drawn = Sampler(1.0, wanted, generator=stream(1, "draw")).choose_by(head, x)
        assert drawn == Sampler(1.0, wanted, generator=stream(1, "draw")).choose(head(x)[0])


@torch.no_grad()
@pytest.mark.parametrize("draw", [Sampler(1.0), Sampler(1.0, 5), Sampler(1.0, top_p=0.5)])
def test_no_text_is_drawn_of_what_is_no_number(draw: Sampler) -> None:
    head = head_of(spoilt("usual"))
    with pytest.raises(RuntimeError, match="nan"):
        draw.choose_by(head, torch.full((1, WIDTH), torch.nan))


@torch.no_grad()
@pytest.mark.parametrize("library", ["torch", "onednn"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_writes_the_same_text(library: MatmulLibrary, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    use_matmul_library(library)
    config = ModelConfig(context_length=32, width=WIDTH, heads=2, layers=2, tied_head=tied)
    usual, ready = (build_model(config, TOKENS, seed=1) for _ in range(2))
    monkeypatch.setattr(quantized_head, "MIN_HEAD_BYTES", 0)
    prepare_for_generation(ready)
    assert isinstance(ready.head, QuantizedHead)
    for draw in ((0.0, None), (1.0, None), (1.0, 5)):
        texts = [
            list(generate(model, [[3, 1, 4]], [Sampler(*draw, generator=stream(1, "draw"))], 40))
            for model in (usual, ready)
        ]
        assert texts[0] == texts[1]
    together = list(generate(ready, [[3, 1, 4], [1, 5, 9]], [Sampler(), Sampler()], 20))
    assert [new[0] for new in together] == [new for [new] in generate(usual, [[3, 1, 4]], [Sampler()], 20)]


@torch.no_grad()
def test_one_text_never_reads_the_whole_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized_head, "MIN_HEAD_BYTES", 0)
    ready = build_model(ModelConfig(context_length=32, width=WIDTH, heads=2, layers=2), TOKENS, seed=1)
    prepare_for_generation(ready)
    head: QuantizedHead = ready.__dict__["head"]

    class Unread:
        outputs = head.head.outputs

        def __call__(self, x: Tensor) -> Tensor:
            raise AssertionError

    ready.__dict__["head"] = QuantizedHead(Unread(), head.screen)
    for draw in (Sampler(), Sampler(1.0, generator=stream(1, "draw")), Sampler(1.0, 5, generator=stream(1, "draw"))):
        assert len(list(generate(ready, [[3, 1, 4]], [draw], 20))) == 20


@pytest.mark.parametrize(
    ("tokens", "dtype", "cpu", "worth"),
    [
        (50_257, torch.float32, "AVX512", True),
        (50_257, torch.float32, "AVX2", True),
        (50_257, torch.float32, "DEFAULT", False),
        (50_257, torch.bfloat16, "AVX512", False),
        (1024, torch.float32, "AVX512", False),
    ],
)
def test_only_a_head_that_no_cache_holds_is_read_twice(
    tokens: int, dtype: torch.dtype, cpu: str, worth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: cpu)
    assert is_worthwhile(torch.empty(tokens, 768, dtype=dtype, device="meta")) == worth
