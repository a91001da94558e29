"""The limit of the machine: the matmuls of a training step and its optimizer alone, and the memory bandwidth.

`python -m bench.limit step PRECISION` and `python -m bench.limit reading` measure in a process of their own.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.shape import BATCH_SIZE, CONTEXT_LENGTH, HEADS, LAYERS, VOCABULARY_SIZE, WIDTH, verdict_model_config

REPEATS = 20
# Operands rotate over more memory than a cache holds, as in a training step.
ROTATED_BYTES = 256 << 20
READ_BYTES = 512 << 20
DRAWN_NUMBERS = 1 << 20


@dataclass(frozen=True)
class Product:
    """A matmul (rows, inner) x (inner, columns), `batch` of them at once and `count` times in a step."""

    name: str
    rows: int
    inner: int
    columns: int
    count: int
    batch: int = 1
    share: float = 1.0
    """Fraction of the product that has to be computed; causal attention needs no scores of the future."""

    @property
    def flops(self) -> float:
        """FLOPs in one training step: each product once forward and twice backward."""
        return 3 * 2 * self.rows * self.inner * self.columns * self.batch * self.share * self.count


def products() -> list[Product]:
    """Every matmul in the forward pass of the verdict shape."""
    tokens = BATCH_SIZE * CONTEXT_LENGTH
    causal = (CONTEXT_LENGTH + 1) / (2 * CONTEXT_LENGTH)
    heads, head_width = BATCH_SIZE * HEADS, WIDTH // HEADS
    return [
        Product("qkv", tokens, WIDTH, 3 * WIDTH, LAYERS),
        Product("scores", CONTEXT_LENGTH, head_width, CONTEXT_LENGTH, LAYERS, heads, causal),
        Product("mixing", CONTEXT_LENGTH, CONTEXT_LENGTH, head_width, LAYERS, heads, causal),
        Product("project", tokens, WIDTH, WIDTH, LAYERS),
        Product("expand", tokens, WIDTH, 4 * WIDTH, LAYERS),
        Product("contract", tokens, 4 * WIDTH, WIDTH, LAYERS),
        Product("head", tokens, WIDTH, VOCABULARY_SIZE, 1),
    ]


def best_seconds(action: Callable[[int], object], repeats: int = REPEATS) -> float:
    """The shortest time, in seconds, of action(1), action(2), ... after action(0) as a warm-up."""
    action(0)
    times = []
    for number in range(1, repeats + 1):
        started = time.perf_counter()
        action(number)
        times.append(time.perf_counter() - started)
    return min(times)


def product_seconds(product: Product, precision: str) -> dict[str, float]:
    """Seconds per step of a matmul's forward pass and its two gradients, each with the faster of torch's libraries."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shapes = {
        "x": (product.batch, product.rows, product.inner),
        "w": (product.batch, product.columns, product.inner),
        "y": (product.batch, product.rows, product.columns),
    }
    numbers = sum(a * b * c for a, b, c in shapes.values())
    copies = max(2, -(-ROTATED_BYTES // (numbers * dtype.itemsize)))
    if product.batch == 1:
        shapes = {name: shape[1:] for name, shape in shapes.items()}
    sets = [{name: numbers_of(shape).to(dtype) for name, shape in shapes.items()} for _ in range(copies)]

    # Each pass is (left, right, result): left @ right.mT, which is how nn.Linear multiplies.
    passes = {
        "forward": [(o["x"], o["w"], o["y"]) for o in sets],
        "input gradient": [(o["y"], o["w"].mT, o["x"]) for o in sets],
        "weight gradient": [(o["y"].mT, o["x"].mT, o["w"]) for o in sets],
    }
    ways = [multiply] if product.batch > 1 or precision == "bf16" else [multiply, multiply_by_onednn]
    factor = product.count * product.share
    return {
        name: factor * min(best_seconds(lambda n, o=operands, way=way: way(*o[n % copies])) for way in ways)
        for name, operands in passes.items()
    }


def numbers_of(shape: tuple[int, ...]) -> Any:
    """Normal random numbers, repeated every DRAWN_NUMBERS, because drawing them takes longer than multiplying."""
    import torch

    count = math.prod(shape)
    return torch.randn(DRAWN_NUMBERS).repeat(-(-count // DRAWN_NUMBERS))[:count].view(shape)


def multiply(left: Any, right: Any, result: Any) -> None:
    import torch

    torch.matmul(left, right.mT, out=result)


def multiply_by_onednn(left: Any, right: Any, _: Any) -> None:
    """Multiply in fp32 with oneDNN, torch's other library; which one is faster depends on the CPU."""
    import torch

    torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


def optimizer_seconds() -> float:
    """Seconds of one fused AdamW update of all weights."""
    import torch

    from minigpt.model.gpt import empty_model

    model = empty_model(verdict_model_config(dropout=0.0), VOCABULARY_SIZE)
    for weight in model.parameters():
        weight.data.normal_()
        weight.grad = torch.randn_like(weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    return best_seconds(lambda _: optimizer.step())


def ways_to_read() -> Sequence[Callable[[int], object]]:
    """Three functions that read READ_BYTES of memory once; which one is the fastest depends on the CPU."""
    import torch

    matrix = numbers_of((READ_BYTES // 4 // 4096, 4096))
    vector = torch.randn(4096)
    return lambda _: matrix.sum(), lambda _: matrix.amax(), lambda _: torch.mv(matrix, vector)


def reading_bytes_per_second(ways: Sequence[Callable[[int], object]], repeats: int = REPEATS) -> float:
    """Bytes per second of the fastest way to read."""
    return READ_BYTES / min(best_seconds(way, repeats) for way in ways)


def main(what: str, precision: str = "fp32") -> None:
    import torch

    from minigpt.runtime.config import EnvironmentConfig
    from minigpt.runtime.environment import apply_environment

    torch.set_grad_enabled(False)
    apply_environment(EnvironmentConfig())
    if what == "reading":
        print(json.dumps({"bytes_per_second": reading_bytes_per_second(ways_to_read())}))
        return
    each = {product.name: product_seconds(product, precision) for product in products()}
    optimizer = optimizer_seconds()
    matrix_seconds = sum(sum(passes.values()) for passes in each.values())
    flops = sum(product.flops for product in products())
    result = {
        "seconds": [matrix_seconds + optimizer],
        "matrix_seconds": matrix_seconds,
        "optimizer_seconds": optimizer,
        "flops_per_second": flops / matrix_seconds,
        "products": each,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
