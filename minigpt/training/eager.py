"""torch's optimizers without loading torch's compiler, which takes as long as loading torch itself."""

import inspect

import torch


class EagerOptimizer(torch.optim.Optimizer):
    """An optimizer whose steps are never compiled: torch's methods, bit for bit, without their compiler's decorators.

    Source: torch/_compile.py (`_disable_dynamo`) and `_use_grad_for_differentiable` in torch/optim/optimizer.py; both
    import torch._dynamo at the first call.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class AdamW(EagerOptimizer, torch.optim.AdamW):
    """torch's AdamW."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
