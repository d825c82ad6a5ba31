"""Modules by a column's name, whatever it is called: ``nn.ModuleDict`` refuses ``my.photo``, ``items`` and ``type``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

TAKEN = frozenset(dir(nn.ModuleDict()))


class Named(nn.ModuleDict):
    """A ``ModuleDict`` whose keys may be any text. In a state dict a refused name stands as ``@name``, dots as ``%2E``."""

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(_stored(key))

    def __setitem__(self, key: str, module: nn.Module) -> None:
        super().__setitem__(_stored(key), module)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and super().__contains__(_stored(key))

    def __iter__(self) -> Iterator[str]:
        return (_told(key) for key in self._modules)

    def keys(self) -> Any:
        return list(self)

    def items(self) -> Any:
        return [(_told(key), module) for key, module in self._modules.items()]


def _stored(name: str) -> str:
    if name and name not in TAKEN and not set(name) & {"@", "%", "."}:
        return name
    return "@" + name.replace("%", "%25").replace(".", "%2E")


def _told(key: str) -> str:
    return key if not key.startswith("@") else key[1:].replace("%2E", ".").replace("%25", "%")
