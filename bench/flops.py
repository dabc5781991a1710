"""FLOPs of a training, and what devices can do at their peak; standard library only."""

from __future__ import annotations

#: Dense bfloat16 TFLOP/s by a part of the device's name (vendors' data sheets); the first that fits.
PEAKS = (
    ("H100 PCIe", 756), ("H100", 989), ("H200", 989), ("A100", 312), ("L40S", 362), ("L4", 121),
    ("A10G", 70), ("A10", 125), ("RTX 4090", 165), ("RTX 3090", 71),
)  # fmt: skip


def peak_flops(device: str, given_tflops: float | None = None) -> float | None:
    """FLOP/s of the device's peak; None where it is not known, as on a CPU."""
    if given_tflops:
        return given_tflops * 1e12
    return next((tflops * 1e12 for name, tflops in PEAKS if name in device), None)


def training_flops_per_token(layers: int, width: int, ffn: int, vocabulary: int, text: int) -> float:
    """FLOPs of a token of a text of `text` tokens, forward and backward, in an OPT decoder.

    6 per weight, and 12 x layers x width x tokens of a text for attention (Chowdhery et al. 2022, appendix B);
    embeddings are looked up and do not count.
    """
    block = 4 * width**2 + 2 * width * ffn
    return 6.0 * (layers * block + width * vocabulary) + 12.0 * layers * width * text
