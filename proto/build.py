"""Build hook: generates ``guard/api`` from the ``.proto`` files.

It runs whenever the package is built or installed, an editable install included, and as a
script (``python proto/build.py``) while the contract is being worked on.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import grpc_tools
from grpc_tools import protoc
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent.parent


def generate() -> None:
    """Write the messages, the stubs and their types below ``guard/api``; errors end the build."""
    sources = sorted((ROOT / "proto" / "guard").rglob("*.proto"))
    target = ROOT / "guard" / "api"
    shutil.rmtree(target, ignore_errors=True)
    (target / "v1").mkdir(parents=True)
    for package in (target, target / "v1"):
        (package / "__init__.py").touch()
    include = Path(grpc_tools.__file__).parent / "_proto"
    outputs = [f"--{name}_out={ROOT}" for name in ("python", "grpc_python", "mypy", "mypy_grpc")]
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{include}", *outputs, *map(str, sources)]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed; its messages are above")


class GenerateApi(BuildHookInterface[BuilderConfig]):
    """Runs the generation before hatchling collects the files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling's signature
        """Generate; ``build_data`` stays as it is."""
        generate()


if __name__ == "__main__":
    generate()
