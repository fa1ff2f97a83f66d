"""Counts the memory of tensors while something runs."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """`bytes`: the most that tensors made inside took at one time."""

    def __enter__(self):
        self.bytes = self.now = 0
        self.seen = set()
        return super().__enter__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self.pass_over(tensor.untyped_storage())
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage())
        return result

    def pass_over(self, storage):
        """It was there before. When it goes, its address may be that of a tensor to count."""
        address = storage.data_ptr()
        if address not in self.seen:
            self.seen.add(address)
            weakref.finalize(storage, self.seen.discard, address)

    def count(self, storage):
        address, size = storage.data_ptr(), storage.nbytes()
        if size and address not in self.seen:
            self.seen.add(address)
            self.now += size
            self.bytes = max(self.bytes, self.now)
            weakref.finalize(storage, self.forget, address, size)

    def forget(self, address, size):
        self.seen.discard(address)
        self.now -= size
