"""A device without float64, as Apple's, on a machine that has none: its tensors are marked ones of the CPU."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

MPS = torch.device("mps")


class Apple(TorchFunctionMode):
    """While it is on, tensors can be brought to the device "mps" and made there. What they are calculated with must lie
    there too, and nothing there may be float64.
    """

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        values = tree_flatten((arguments, named))[0]
        marked = any(is_on_apple(value) for value in values)
        if function == torch.Tensor.device.__get__:  # a new object at every look
            return MPS if marked else function(*arguments, **named)
        goal = next((torch.device(value) for value in values if is_device(value)), None)
        moves = function in (torch.Tensor.to, torch.Tensor.cpu)
        if function is torch.Tensor.cpu:
            goal = torch.device("cpu")
        if marked and not moves and any(is_elsewhere(value) for value in values):
            raise RuntimeError(f"Expected all tensors of {function.__name__} to be on the same device, mps and cpu")
        arguments, named = tree_map(lambda value: "cpu" if is_device(value) else value, (arguments, named))
        result = function(*arguments, **named)
        return tree_map(mark, result) if (goal == MPS if goal else marked) else tree_map(unmark, result)


def is_device(value):
    return isinstance(value, torch.device) or value in ("mps", "cpu") if not torch.is_tensor(value) else False


def is_on_apple(value):
    return torch.is_tensor(value) and vars(value).get("on_apple", False)


def is_elsewhere(value):
    return torch.is_tensor(value) and value.dim() > 0 and not is_on_apple(value)


def mark(value):
    if not torch.is_tensor(value):
        return value
    if value.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
    if not is_on_apple(value):
        value = value.view_as(value)
        value.on_apple = True
    return value


def unmark(value):
    return value.view_as(value) if is_on_apple(value) else value


def move(module):
    """A module's weights, brought there."""
    for weight in [*module.parameters(), *module.buffers()]:
        weight.on_apple = True
    return module
