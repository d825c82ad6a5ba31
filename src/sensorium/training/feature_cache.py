"""What is frozen is computed once: ragged arrays on disk, memory-mapped, in fixed shards.

A shard is a safetensors file with ``data`` (positions of all its rows, width) and ``offsets`` (rows + 1,). Which rows make
a shard follows from the set of content hashes alone, and one call of ``compute`` makes one shard; so an interruption
loses at most the shard at work, and what is computed afterwards is bit for bit what would have been.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor, nn

from sensorium.errors import RunError
from sensorium.run import sha256_text, write_atomic
from sensorium.training.protocols import Say

Array = np.ndarray | Tensor
Compute = Callable[[list[int]], Sequence[Array]]
KINDS = {torch.bfloat16: ("BF16", "<u2"), torch.float16: ("F16", "<f2"), torch.float32: ("F32", "<f4")}
ON_THE_FLY_BYTES = 256 * 1024**2
REVISION = 2  # of what is computed; raised where the same weights and settings come to give other features


class Features:
    """``features[i]`` is row ``i``'s tensor (positions, width); on disk it shares the map's memory: do not write to it.

    ``lengths`` (rows,) counts positions; None where features are computed when asked for.
    """

    on_disk: bool
    lengths: np.ndarray | None

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Tensor:
        raise NotImplementedError


class MappedFeatures(Features):
    """Features in shards on disk. May be handed to worker processes: maps are opened where they are read."""

    on_disk = True

    def __init__(self, paths: list[Path], places: np.ndarray, dtype: torch.dtype, shard_rows: int) -> None:
        self._paths, self._places, self._dtype, self._rows = paths, places, dtype, shard_rows
        self._maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        unique = (
            np.concatenate([np.diff(self._map(s)[0]) for s in range(len(paths))]) if paths else np.zeros(0, np.int64)
        )
        self.lengths = unique[places].astype(np.int32)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Tensor:
        shard, row = divmod(int(self._places[index]), self._rows)
        offsets, data = self._map(shard)
        return torch.from_numpy(data[offsets[row] : offsets[row + 1]]).view(self._dtype)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}

    def _map(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        if shard not in self._maps:
            opened = _open_shard(self._paths[shard], self._dtype)
            if opened is None:
                where, mend = str(self._paths[shard]), "run the same command again"
                raise RunError("a file of cached features is missing or damaged", where=where, mend=mend)
            self._maps[shard] = opened
        return self._maps[shard]


class ComputedFeatures(Features):
    """Features computed when asked for, the latest kept. One row a call, so that no neighbour changes a row's bits."""

    on_disk = False
    lengths = None

    def __init__(self, compute: Compute, rows: int, dtype: torch.dtype, keep_bytes: int = ON_THE_FLY_BYTES) -> None:
        self._compute, self._n, self._dtype, self._keep = compute, rows, dtype, keep_bytes
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < self._n:
            raise IndexError(index)
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        tensor = _tensor(self._compute([index])[0], self._dtype)
        self._kept[index] = tensor
        self._bytes += tensor.nbytes
        while self._bytes > self._keep and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return tensor


def cached_features(
    folder: str | Path,
    key: str,
    content_hashes: Sequence[str],
    compute: Compute,
    dtype: torch.dtype = torch.bfloat16,
    budget_bytes: float = 8 * 1024**3,
    progress: Callable[[int, int], None] | None = None,
    shard_rows: int = 256,
    say: Say = print,
) -> Features:
    """Features of rows, computed once for each different content.

    Args:
        key: of what computes them: ``feature_key`` of weights and settings.
        content_hashes: one a row; rows with equal hashes are computed once.
        compute: row numbers (indices into ``content_hashes``) → arrays or tensors (positions, width), one each; positions
            may differ and be 0, the width may not. Called with a shard's rows at a time.
        budget_bytes: where the estimate, made from the first shard, is above it or above the free disk, features are
            computed when asked for instead; ``say`` is told.
        progress: called as ``progress(newly_done, total)`` in unique rows.

    Several processes may call it at once: each computes the shards that no other is at.
    """
    # np.unique sorts, so the order of rows changes no shard; of rows with equal content the first is computed
    unique, first, places = np.unique(
        np.asarray(content_hashes, dtype=np.bytes_), return_index=True, return_inverse=True
    )
    place = Path(folder) / sha256_text(f"{key} {dtype} {shard_rows}")[:32]
    place.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(unique), shard_rows)
    paths = [
        place / f"{sha256(b' '.join(unique[i : i + shard_rows].tolist())).hexdigest()[:32]}.safetensors" for i in starts
    ]
    pending, wait = list(range(len(paths))), True  # all wait for the first shard, which tells the size
    while pending:
        busy = []
        for s in pending:
            rows = first[s * shard_rows : (s + 1) * shard_rows].tolist()
            if not _make_shard(paths[s], rows, compute, dtype, wait):
                busy.append(s)
                continue
            if progress is not None:
                progress(len(rows), len(unique))
            if s == 0:
                excess = _excess(paths, len(rows), len(unique), budget_bytes)
                if excess is not None:
                    say(f"{excess}: features are computed anew each time")
                    return ComputedFeatures(compute, len(places), dtype)
                wait = False
        pending, wait = busy, True  # what other processes were at
    return MappedFeatures(paths, places.reshape(-1), dtype, shard_rows)


def feature_key(weights: str, **settings: Any) -> str:
    """A key from a hash of weights and JSON settings that change the features."""
    return sha256_text(json.dumps([REVISION, weights, settings], sort_keys=True))


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers with their names, types and shapes."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _make_shard(path: Path, rows: list[int], compute: Compute, dtype: torch.dtype, wait: bool) -> bool:
    """Whether the shard is in place; False where another process is making it and ``wait`` is false."""
    if _open_shard(path, dtype) is not None:
        return True
    with _lock(path, wait) as mine:
        if not mine:
            return False
        if _open_shard(path, dtype) is None:
            write_atomic(path, _shard_bytes(compute(rows), len(rows), dtype))
    return True


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[bool]:
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
        with suppress(OSError):  # a late waiter may make the same bytes again: harmless
            path.with_suffix(".lock").unlink()


def _shard_bytes(arrays: Sequence[Array], rows: int, dtype: torch.dtype) -> bytes:
    if len(arrays) != rows:
        raise ValueError(f"compute gave {len(arrays)} arrays for {rows} rows")
    tensors = [_tensor(array, dtype) for array in arrays]
    if len({t.shape[1] for t in tensors}) > 1 or any(t.dim() != 2 for t in tensors):
        raise ValueError("features must be (positions, width) of one width")
    offsets = torch.tensor([0, *np.cumsum([len(t) for t in tensors])], dtype=torch.int64)
    return save({"data": torch.cat(tensors), "offsets": offsets})


def _tensor(array: Array, dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array.detach().cpu()
    if tensor.dtype == torch.uint16 and dtype == torch.bfloat16:  # bf16 bits in the type that NumPy has
        return tensor.view(torch.bfloat16)
    return tensor.to(dtype).contiguous()


def _open_shard(path: Path, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray] | None:
    """(offsets, mapped data as integers or floats of the type's width), or None where the file is not whole."""
    kind, numpy_kind = KINDS[dtype]
    try:
        with open(path, "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, 65536)))
            data, offsets = header["data"], header["offsets"]
            start = 8 + size
            if (
                path.stat().st_size != start + max(data["data_offsets"][1], offsets["data_offsets"][1])
                or data["dtype"] != kind
            ):
                return None
            file.seek(start + offsets["data_offsets"][0])
            edges = np.frombuffer(file.read(8 * offsets["shape"][0]), dtype="<i8")
        if 0 in data["shape"]:
            return edges, np.zeros(data["shape"], numpy_kind)
        # copy-on-write: torch warns of read-only memory, and no stray write can reach the file
        mapped = np.memmap(
            path, numpy_kind, mode="c", offset=start + data["data_offsets"][0], shape=tuple(data["shape"])
        )
    except (OSError, ValueError, KeyError, struct.error):
        return None
    return edges, mapped


def _excess(paths: list[Path], first_rows: int, total_rows: int, budget: float) -> str | None:
    """Why the features cannot be kept on disk, judged by the first shard's size; None where they can."""
    first = paths[0].stat().st_size
    needed = first / max(first_rows, 1) * total_rows
    missing = needed - first - sum(path.stat().st_size for path in paths[1:] if path.exists())
    free = shutil.disk_usage(paths[0].parent).free
    if needed > budget:
        return f"cached features would take {needed / 1e9:.2f} GB, training.cache_gigabytes allows {budget / 1e9:.2f}"
    if missing > 0.95 * free:
        return (
            f"cached features would take {missing / 1e9:.2f} GB more, {free / 1e9:.2f} GB are free in {paths[0].parent}"
        )
    return None
