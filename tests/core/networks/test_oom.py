"""When memory runs out, less is done at once; what comes out is the same, or an error that says so."""

import pytest
import torch
from pack.vqdiffusion_core.networks.oom import AdaptiveBatches, OutOfMemory, first_that_fits, is_out_of_memory

NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_work_is_halved_until_it_fits_and_no_image_is_left_out(error):
    tried = []

    def work(images):
        tried.append(images.stop - images.start)
        if tried[-1] > 3:
            raise error
        return torch.arange(images.start, images.stop)

    batches = AdaptiveBatches()
    assert batches.map(work, 17).tolist() == list(range(17))
    assert tried == [17, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 1]
    tried.clear()
    assert batches.map(work, 17).tolist() == list(range(17)) and max(tried) == 2, "it was tried again with too many"


def test_what_does_not_fit_alone_is_a_clear_error():
    def work(images):
        raise NO_MEMORY[0]

    with pytest.raises(OutOfMemory, match="The memory is too small for one image, even in the smallest pieces"):
        AdaptiveBatches().map(work, 8)
    with pytest.raises(OutOfMemory, match="too small for the decoder"):
        first_that_fits([lambda: work(slice(0)), lambda: work(slice(0))], "the decoder")


def test_the_best_way_that_fits_is_taken():
    def none():
        raise NO_MEMORY[2]

    assert first_that_fits([none, lambda: "tiles", lambda: "small tiles"], "the decoder") == "tiles"


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), KeyboardInterrupt()])
def test_other_errors_are_not_taken_for_it(error):
    def work(images):
        raise error

    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        AdaptiveBatches().map(work, 8)
