"""How a model is spread over processes: alone, replicated (DDP) or sharded (FSDP2).

With all three the plain model keeps its parameters' names, so that checkpoints are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from slt.training import processes


class _Loss(nn.Module):
    """A model and its objective as one module: DDP and FSDP2 act on what goes through a `forward`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, objective: Callable[[Any, Any], Tensor], batch: Any) -> Tensor:
        return objective(self.model, batch)


class SingleProcess:
    """One process: the model as it is."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.loss: nn.Module = _Loss(model)  # (objective, batch) -> loss

    def sync_gradients(self, last: bool) -> AbstractContextManager[Any]:
        """Forward and backward within it average gradients over processes where `last`, and else only add them up."""
        return nullcontext()

    def full_weights(self) -> AbstractContextManager[Any]:
        """Within it the plain model has the weights trained so far, alike on each process."""
        return nullcontext()

    def load_from_model(self) -> None:
        """Takes over what was loaded into the plain model."""

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimizer's state as one process has it; whole on rank 0."""
        return optimizer.state_dict()

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Loads what `optimizer_state` gave, whatever the strategy was."""
        optimizer.load_state_dict(state)


class Replicated(SingleProcess):
    """DDP: each process has the whole model and its part of the batch.

    Buffers are rank 0's: running statistics of batch normalisation, if any, are those of its part of the batch.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        # A stream that nobody in a process's part of the batch shows gives its backbone no gradient there; one that
        # nobody shows at all leaves it untouched, as in one process.
        self.loss = DistributedDataParallel(self.loss, find_unused_parameters=True)

    def sync_gradients(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.loss.no_sync()  # type: ignore[operator]

    @contextmanager
    def full_weights(self) -> Iterator[None]:
        _broadcast_buffers(self.model)
        yield


class Sharded(SingleProcess):
    """FSDP2 (`fully_shard`; Zhao et al. 2023, PyTorch FSDP): parameters, gradients and optimizer state are divided.

    A twin of the model is trained in shards: each layer of a transformer is gathered when it is needed, the rest (the
    backbones, embeddings, heads) for the length of an update, because a process whose clips show no hands must gather
    what the others gather. The plain model waits on the CPU and gets the weights for evaluation and checkpoints. The
    optimizer comes without state; the places of its parameters are taken by the shards.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
            raise ValueError(
                f"strategy=fsdp2: torch {torch.__version__} cannot shard a model of which parts are unused at times "
                "(FSDPModule.set_reduce_scatter_unused_params is missing); take a newer torch, or strategy=ddp"
            )
        self.device = device
        self.model = model.cpu()
        twin = _Loss(copy.deepcopy(self.model))
        for value in twin.state_dict().values():
            dist.broadcast(value, src=0)
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        for layer in _layers(twin.model):
            layer.register_forward_hook(_no_views)
            fully_shard(layer, mesh=mesh)
        # The root keeps what it has gathered until its gradients are there.
        root: Any = fully_shard(twin, mesh=mesh, reshard_after_forward=False)
        root.set_reduce_scatter_unused_params(True)
        self.loss = root
        shards = dict(zip(map(id, self.model.parameters()), self.loss.parameters(), strict=True))
        for group in optimizer.param_groups:
            group["params"] = [shards[id(parameter)] for parameter in group["params"]]

    @contextmanager
    def sync_gradients(self, last: bool) -> Iterator[None]:
        self.loss.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield
        if last:
            self._drop_zeros()

    def _drop_zeros(self) -> None:
        """Drops gradients that are zero all over, of a stream no clip showed: AdamW would go on moving its backbone."""
        given: list[Any] = [parameter for parameter in self.loss.parameters() if parameter.grad is not None]
        norms = torch.stack(torch._foreach_norm([parameter.grad.to_local() for parameter in given]))
        for parameter, norm in zip(given, processes.total(norms).tolist(), strict=True):
            if norm == 0:
                parameter.grad = None

    @contextmanager
    def full_weights(self) -> Iterator[None]:
        self.model.to(self.device)
        with torch.no_grad():
            for mine, trained in self._pairs():
                mine.copy_(trained.full_tensor() if isinstance(trained, DTensor) else trained)
        _broadcast_buffers(self.model)
        yield
        self.model.cpu()

    def load_from_model(self) -> None:
        with torch.no_grad():
            for mine, trained in self._pairs():
                trained.copy_(_shard(mine.to(self.device), trained))

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each of the plain model's tensors with the trained one."""
        yield from zip(self.model.state_dict().values(), self.loss.state_dict().values(), strict=True)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        # Not through `torch.distributed.checkpoint.state_dict`: its optimizer state goes by parameters' names, and it
        # takes a step with zero gradients to give state to parameters that never had a gradient.
        def whole(shard: DTensor) -> Tensor | None:
            full = shard.full_tensor()  # by all processes, kept by one
            return full.cpu() if processes.first() else None

        return tree_map_only(DTensor, whole, optimizer.state_dict())

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        parts = {
            place: {key: _shard(value.to(self.device), parameters[place]) if getattr(value, "ndim", 0) else value
                    for key, value in values.items()}
            for place, values in state["state"].items()
        }  # fmt: skip
        optimizer.load_state_dict({**state, "state": parts})


def wrap_model(
    model: nn.Module, optimizer: torch.optim.Optimizer, strategy: str, device: torch.device
) -> SingleProcess:
    """A plain model, the same on each process and on its device, as it is trained by this many of them."""
    if processes.world() == 1:
        return SingleProcess(model)
    return Replicated(model) if strategy == "ddp" else Sharded(model, optimizer, device)


def _layers(model: nn.Module) -> list[nn.Module]:
    """The layers of transformers, outermost: what stands in a ModuleList and has parts; those of backbones excepted."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{other}.") for other in found)
        if isinstance(module, nn.ModuleList) and ".backbones." not in name and not inside:
            found += [f"{name}.{key}" for key, child in module.named_children() if len(list(child.children()))]
    return [model.get_submodule(name) for name in found]


def _no_views(layer: nn.Module, given: Any, made: Any) -> Any:
    """Copies what is a view of something else: FSDP2 loses the gradient of one that is changed in place (T5's bias)."""
    return tree_map_only(Tensor, lambda tensor: tensor.clone() if tensor._is_view() else tensor, made)


def _shard(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor that each process has whole."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def _broadcast_buffers(model: nn.Module) -> None:
    for buffer in model.buffers():
        dist.broadcast(buffer, src=0)
