"""torchvision is repaired before timm and transformers import it; networks run on one thread."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from ndengine.models.torchvision_import import torchvision_models

torchvision_models()
with warnings.catch_warnings():
    # What these warn of when they are imported is their own affair.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    import timm  # noqa: F401
    import transformers  # noqa: F401


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
