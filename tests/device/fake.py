"""A device that is not there: its tensors say cuda:0, hold real values on the CPU and obey a device's rules; every
launch, wait and copy is counted.

    with FakeDevice() as gpu:
        model.prepare_for_inference("cuda")
        generate(model, "a fox")
    gpu.waits, gpu.launches, gpu.uploads

A dispatch mode sees every operator below autograd, as torch's FakeTensorMode does. But there are values here, so that
`if mask.any()` and indexing by a mask go on, and are counted as what they cost.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import weakref
from unittest import mock

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)

# Operators that launch nothing
VIEWS = {
    *("view", "_unsafe_view", "transpose", "expand", "slice", "select", "unsqueeze", "t", "permute", "split", "alias"),
    *("split_with_sizes", "detach", "as_strided", "squeeze", "unbind", "unfold", "_reshape_alias", "lift_fresh"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "expand_as", "chunk", "flatten"),
}
# Kernels of one call on CUDA, where it is more than one (read in PyTorch's sources)
KERNELS = collections.Counter(
    {"sort": 3, "argsort": 3, "topk": 2, "nonzero": 4, "boolean index": 5, "masked_scatter": 4, "masked_fill": 2}
    | {"index_put_": 2, "index_put": 3, "scatter": 2, "native_group_norm": 2}
)
# One kernel, or nearly, though PyTorch would take them apart
WHOLE = {"conv2d", "layer_norm", "group_norm", "linear", "searchsorted", "upsample_nearest2d"}
# Their results' sizes or values are read on the host
WAITS = {"_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "bincount", "_unique2", "multinomial"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class OnDevice(torch.Tensor):
    """A tensor that says that it lies on the device; what it holds is on the CPU."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CUDA,
            layout=held.layout,
        )

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"OnDevice({self.held!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        return FakeDevice.present.run(function, arguments, named or {})


class FakeDevice(TorchDispatchMode):
    """While it is on, "cuda" is a device. Without `float64` it has no numbers of that type, as Apple's and Intel's have
    none. Beyond `limit` bytes, memory is out.
    """

    present: FakeDevice

    def __init__(self, *, float64: bool = True, limit: int | None = None):
        super().__init__()
        self.float64, self.limit = float64, limit
        self.alive: set[int] = set()  # storages
        self.used = self.peak = 0  # bytes
        self.count_anew()

    def count_anew(self):
        self.launches, self.operators = 0, collections.Counter()
        self.waits, self.uploads = collections.Counter(), collections.Counter()  # by the line that asks
        self.peak = self.used

    def __enter__(self):
        FakeDevice.present = self
        torch._C._ensureCUDADeviceGuardSet()
        self.undo = contextlib.ExitStack()
        # .to() then makes new parameters, of our type; and torch.tensor(list, device=...) copies, which is seen
        self.turn_on(torch.__future__.set_overwrite_module_params_on_conversion)
        self.turn_on(torch._C._set_only_lift_cpu_tensors)
        driver = {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "set_device": lambda device: None,
            "empty_cache": lambda: self.operators.update(["empty_cache"]),
            "_lazy_init": lambda: None,
        }
        for name, value in driver.items():
            self.undo.enter_context(mock.patch.object(torch.cuda, name, value))
        self.undo.enter_context(mock.patch.object(torch._C, "_cuda_getDevice", lambda: 0, create=True))
        self.undo.enter_context(Attention())
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.undo.close()

    @contextlib.contextmanager
    def on_duty(self):
        """A mode is off while it handles an operator; on again for that operator's parts."""
        TorchDispatchMode.__enter__(self)
        try:
            yield
        finally:
            TorchDispatchMode.__exit__(self, None, None, None)

    def turn_on(self, setting):
        setting(True)
        self.undo.callback(setting, False)

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        return self.run(function, arguments, named or {})

    def run(self, function, arguments, named):
        name = function._schema.name.split("::")[1]
        tensors = [value for value in tree_leaves((arguments, named)) if isinstance(value, torch.Tensor)]
        target = named.get("device") or next((a for a in arguments if isinstance(a, torch.device)), None)
        if not is_cuda(target) and not any(isinstance(tensor, OnDevice) for tensor in tensors):
            return function(*arguments, **named)
        composite = torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd")
        if composite and name not in WHOLE:  # inference mode brings these whole
            with self.on_duty():
                return function.decompose(*arguments, **named)
        if name == "_to_copy":
            return self.copy(function, arguments[0], dict(named))
        if name == "copy_":
            return self.copy_into(function, *arguments, **named)
        if name in INDEXING:
            name = self.index_kind(name, arguments)
        else:
            self.refuse_mixed(name, tensors)
        if name in WAITS or name.startswith("boolean"):
            self.wait(name)
        if is_cuda(named.get("device")):
            named = named | {"device": torch.device("cpu")}
        result = function(*tree_map(held, arguments), **tree_map(held, named))
        if name not in VIEWS:
            self.launch(name)
        wrapped = tree_map(self.wrap, result)
        return (
            wrapped
            if name == "_local_scalar_dense"
            else return_and_correct_aliasing(function, arguments, named, wrapped)
        )

    def copy(self, function, x, named):
        """To the device, from it, or on it to another type."""
        target = torch.device(named.pop("device", None) or x.device)
        if target.type == "meta":
            return function(held(x), device=target, **named)
        result = function(held(x), **named)
        if result is held(x) or result.untyped_storage()._cdata == held(x).untyped_storage()._cdata:
            result = result.clone()
        if is_cuda(x.device) and not is_cuda(target):
            self.wait("copy to the CPU")
            return result
        if is_cuda(x.device):
            self.launch("_to_copy")
        else:
            self.uploads[asker()] += 1
        return self.wrap(result)

    def copy_into(self, function, into, source, *rest, **named):
        if not is_cuda(into.device):
            self.wait("copy to the CPU")
        elif is_cuda(source.device):
            self.launch("copy_")
        else:
            self.uploads[asker()] += 1
        function(held(into), held(source), *rest, **named)
        return into

    def index_kind(self, name, arguments):
        """Indices may lie on the CPU where what is indexed lies on the device, but not the other way round."""
        indexed, indices = arguments[0], [index for index in arguments[1] if index is not None]
        if not is_cuda(indexed.device) and any(is_cuda(index.device) for index in indices):
            raise RuntimeError(f"indices should be on the same device as the indexed tensor (cpu) at {asker()}")
        if is_cuda(indexed.device) and (brought := sum(not is_cuda(index.device) for index in indices)):
            self.uploads[asker()] += brought
        values = arguments[2:3] if "put" in name else []
        self.refuse_mixed(name, [indexed, *values])
        by_mask = any(index.dtype == torch.bool for index in indices)
        filled = any(value.numel() == 1 for value in values)
        return f"boolean {name.strip('_')}" if by_mask and not filled else name

    def refuse_mixed(self, name, tensors):
        """A number on the CPU may go with the device's tensors, and nothing else."""
        places = {
            tensor.device.type: tuple(tensor.shape) for tensor in tensors if tensor.dim() or is_cuda(tensor.device)
        }
        if len(places) > 1:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {places}, "
                f"in {name} at {asker()}"
            )

    def wrap(self, value):
        if not isinstance(value, torch.Tensor) or isinstance(value, OnDevice):
            return value
        if value.dtype == torch.float64 and not self.float64:
            raise TypeError(f"Cannot convert to float64: the device doesn't support it (asked for at {asker()})")
        on_device = OnDevice(value)
        on_device.storage_held = value.untyped_storage()  # whose object's end is that of the memory
        self.allocate(on_device.storage_held)
        return on_device

    def allocate(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self.alive:
            return
        if self.limit is not None and self.used + size > self.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes")
        self.alive.add(key)
        self.used += size
        self.peak = max(self.peak, self.used)
        weakref.finalize(storage, self.free, key, size)

    def free(self, key, size):
        self.alive.discard(key)
        self.used -= size

    def launch(self, name):
        self.launches += KERNELS.get(name, 1)
        self.operators[name] += 1

    def wait(self, name):
        self.waits[f"{name} at {asker()}"] += 1


class Attention(TorchFunctionMode):
    """PyTorch chooses attention's kernel by asking the driver, which is not there. Here it is one launch."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        if function is not F.scaled_dot_product_attention or not isinstance(arguments[0], OnDevice):
            return function(*arguments, **named)
        fake, given = FakeDevice.present, [*arguments, *named.values()]
        fake.refuse_mixed("attention", [value for value in given if isinstance(value, torch.Tensor)])
        with off_duty():
            mixed = function(*tree_map(held, arguments), **tree_map(held, named))
        fake.launch("attention")
        return fake.wrap(mixed)


def off_duty():
    return torch.utils._python_dispatch._disable_current_modes()


def held(value):
    return value.held if isinstance(value, OnDevice) else value


def is_cuda(device):
    return device is not None and torch.device(device).type == "cuda"


def asker():
    """The line of the pack, or of a test, on whose behalf this is."""
    frame = sys._getframe(1)
    while "/torch/" in (path := frame.f_code.co_filename) or path == __file__ or path.endswith("/contextlib.py"):
        frame = frame.f_back
    return f"{path.rpartition('/')[2]}:{frame.f_lineno}"
