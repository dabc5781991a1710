"""Training with Lightning, as its users do: a module and a Trainer. Imported only where Lightning is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class _Module(lightning.LightningModule):  # type: ignore[misc] # Lightning is not installed where types are checked
    def __init__(self, model: nn.Module, loss: Loss, stepped: Callable[[int], None]) -> None:
        super().__init__()
        self.model, self._loss, self._stepped = model, loss, stepped

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        return self._loss(self.model, *batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        self._stepped(number + 1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [value for value in self.parameters() if value.requires_grad]
        return torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.98))


def fit(
    model: nn.Module,
    loss: Loss,
    stepped: Callable[[int], None],
    ids: Tensor,
    labels: Tensor,
    *,
    texts: int,
    folder: Path,
) -> None:
    """Train for one epoch, `texts` at a time; `stepped` hears the number of each step, from 1, when it has ended."""
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    with warnings.catch_warnings():
        # Advice on loader processes, which would not pay for tensors that lie in memory.
        warnings.simplefilter("ignore")
        trainer.fit(
            _Module(model, loss, stepped), DataLoader(TensorDataset(ids, labels), texts, shuffle=True)
        )
