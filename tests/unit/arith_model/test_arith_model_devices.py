"""Device, threads and dtype are what was asked for."""

from __future__ import annotations

import pytest
import torch

from arith_model import devices
from arith_shared.vitals import VITALS


@pytest.fixture(autouse=True)
def _threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_the_processor_is_used_with_the_threads_that_the_worker_may_use(monkeypatch, caplog):
    for threads in (1, 3):
        monkeypatch.setenv("ARITH_THREADS", str(threads))
        with caplog.at_level("INFO", logger="arith_model.devices"):
            device = devices.choose_device()
        assert device == torch.device("cpu")
        assert torch.get_num_threads() == threads
        assert caplog.messages[-1] == f"device cpu with {threads} threads: no GPU is available"
        assert devices.device_name(device).endswith(f", {threads} threads")


@pytest.mark.usefixtures("no_gpu")
def test_without_the_variable_torch_keeps_its_own_choice():
    torch.set_num_threads(2)
    devices.choose_device()
    assert torch.get_num_threads() == 2


def test_a_gpu_is_preferred_and_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(VITALS, "read_gpu_bytes", None)
    device = devices.choose_device()
    assert device.type == "cuda"
    assert VITALS.read_gpu_bytes is torch.cuda.max_memory_allocated
    assert devices.device_name(device) == "NVIDIA H100"


def test_lower_precision_is_for_products_only_and_ends_with_the_context():
    layer, inputs = torch.nn.Linear(4, 4), torch.ones(2, 4)
    cpu = torch.device("cpu")
    with devices.compute_dtype(cpu, "bfloat16"):
        rounded = layer(inputs)
    with devices.compute_dtype(cpu, "float32"):
        exact = layer(inputs)
    assert (rounded.dtype, exact.dtype, layer.weight.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert layer(inputs).dtype == torch.float32
    torch.testing.assert_close(rounded.float(), exact, rtol=2**-7, atol=2**-7)
