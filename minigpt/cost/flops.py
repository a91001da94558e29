"""Parameters, floating point operations and compute-optimal tokens of a model.

FLOPs per token come in two usual forms. 6N (Kaplan et al. 2020, section 2.1; GPT-3, table D.1) counts each
parameter's multiplication and addition, once forward and twice backward. PaLM's (Chowdhery et al. 2022, appendix B)
adds the matmuls of attention, 12 L H Q T.
"""

from math import log10

PALM_FORMULA = "6 N + 12 L H Q T (PaLM, appendix B; N without embeddings that are only looked up)"


def flops_per_token_6n(parameters: float) -> float:
    return 6.0 * parameters


def flops_per_token_palm(parameters: float, layers: int, heads: int, head_width: int, sequence_length: int) -> float:
    """FLOPs per token by PaLM's formula.

    `parameters` excludes embeddings that are only looked up: positions, and tokens if the head is untied.
    """
    return 6.0 * parameters + 12.0 * layers * heads * head_width * sequence_length


def model_flops_utilization(
    tokens_per_second: float, flops_per_token: float, devices: int, peak_flops_per_second: float
) -> float:
    """Model FLOPs utilization (MFU): the fraction of the peak that the model's own arithmetic uses."""
    return tokens_per_second * flops_per_token / (devices * peak_flops_per_second)


def gpt2_parameter_count(
    vocabulary_size: int,
    context_length: int,
    width: int,
    layers: int,
    *,
    qkv_bias: bool,
    tied_head: bool,
    bias: bool = True,
) -> int:
    """Parameters of a GPT-2. Without `bias`, neither linear layers nor norms have one."""
    c = width
    norm = 2 * c if bias else c
    vectors = c + 4 * c + c if bias else 0  # of the attention's projection and the MLP's two layers
    block = 12 * c * c + vectors + (3 * c if qkv_bias else 0) + 2 * norm
    head = 0 if tied_head else vocabulary_size * c
    return (vocabulary_size + context_length) * c + layers * block + norm + head


def modern_parameter_count(vocabulary_size: int, width: int, layers: int) -> int:
    """Parameters of the modern architecture: embedding, head, the blocks' matrices, and the smear weights."""
    return 2 * vocabulary_size * width + width + 12 * layers * width * width


def chinchilla_tokens(parameters: float) -> float:
    """Compute-optimal training tokens for a model size (Hoffmann et al. 2022, approach 2, refitted)."""
    return float(10 ** (1.04096 * log10(parameters) + 0.93539))
