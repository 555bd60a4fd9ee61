"""Packaging: what Cadence is made of and what it needs."""

from pathlib import Path

from setuptools import setup

EXTRAS = {
    "safetensors": ["safetensors>=0.4"],
    "tensorboard": ["tensorboard>=2.16"],
    "timm": ["timm>=1.0"],
    "test": ["pytest>=8", "hypothesis>=6.100", "ruff>=0.6", "safetensors>=0.4", "tensorboard>=2.16", "timm>=1.0"],
}

setup(
    name="cadence-train",
    version="0.1.0",
    description="Trains image classifiers on CIFAR-sized data as fast as the hardware allows",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=[
        "benchmarks",
        "engine",
        "engine.models",
        "engine.optim",
        "engine.training",
        "engine.views",
        "loaders",
        "loaders.kernels",
        "loaders.on_device",
        "recipes",
    ],
    install_requires=[
        "torch>=2.10",
        "torchvision>=0.25",
        "ffcv==1.0.2",
        "fastargs==1.2.0",
        # fastargs imports terminaltables without declaring it; FFCV's pipeline imports distutils, which setuptools
        # provides since Python 3.12.
        "terminaltables>=3.1",
        "setuptools>=70",
        "numba>=0.60",
        "numpy>=1.26",
        "matplotlib>=3.8",
        "pillow>=10",
        "psutil>=5.9",
        "pyyaml>=6",
        "rich>=13",
    ],
    extras_require=EXTRAS,
)
