"""Packaging: what Cadence is made of and what it needs."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ("benchmarks", "engine", "loaders", "recipes")
EXTRAS = {
    "cam": ["grad-cam>=1.5"],
    "completion": ["shtab>=1.13"],
    "demo": ["gradio>=6", "grad-cam>=1.5"],
    "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.3", "torchao>=0.14", "safetensors>=0.4"],
    "safetensors": ["safetensors>=0.4"],
    "share": ["huggingface_hub>=0.30", "safetensors>=0.4"],
    "sweep": ["optuna>=4"],
    "tensorboard": ["tensorboard>=2.16"],
    "timm": ["timm>=1.0"],
    "trackio": ["trackio>=0.5"],
    "wandb": ["wandb>=0.18"],
}
EXTRAS["all"] = sorted({line for lines in EXTRAS.values() for line in lines})
# Trackers that talk to services of their own are tested where they are installed.
EXTRAS["test"] = [*(line for line in EXTRAS["all"] if not line.startswith(("trackio", "wandb"))),
                  "hypothesis>=6.100", "ipykernel>=6", "nbclient>=0.10", "nbformat>=5", "playwright>=1.45", "pytest>=8",
                  "pytest-xdist>=3.6", "ruff>=0.6"]

EXTRAS["mutants"] = ["coverage>=7", "mutmut>=3.8"]

setup(
    name="cadence-train",
    version="0.1.0",
    description="Trains image classifiers on CIFAR-sized data as fast as the hardware allows",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(include=[f"{name}{rest}" for name in PACKAGES for rest in ("", ".*")]),
    package_data={"engine.kernels": ["*.cpp"], "engine.reporting": ["*.jinja"]},
    entry_points={"console_scripts": ["cadence = engine.cadence:main"]},
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
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "pillow>=10",
        "plotly>=6",
        "psutil>=5.9",
        "pyyaml>=6",
        "rich>=13",
    ],
    extras_require=EXTRAS,
)
