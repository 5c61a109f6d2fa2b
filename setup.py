"""Build and installation of mmsscl.

Configs, tools and the model index travel inside the package as ``mmsscl/.mim`` (the place where mmengine and OpenMIM
look for them): copied into a wheel at build time, linked in an editable install.
"""
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = ("configs", "tools", "model-index.yml")


class BuildWithConfigs(build_py):
    """The ordinary build, with ``.mim`` beside the modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            self._link(ROOT / "mmsscl" / ".mim")
        else:
            self._copy(Path(self.build_lib) / "mmsscl" / ".mim")

    @staticmethod
    def _link(destination: Path) -> None:
        destination.mkdir(exist_ok=True)
        for name in CARRIED:
            link = destination / name
            if not link.is_symlink():
                link.symlink_to(Path("..", "..", name))

    @staticmethod
    def _copy(destination: Path) -> None:
        # A build folder that is used again must not carry configs deleted since.
        shutil.rmtree(destination, ignore_errors=True)
        destination.mkdir(parents=True)
        for name in CARRIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, destination / name, ignore=shutil.ignore_patterns("__pycache__", "*.py[co]"))
            else:
                shutil.copy2(source, destination / name)


def read_version() -> str:
    """The version, without importing the package (its requirements may not be there yet)."""
    match = re.search(r'^__version__ = "([^"]+)"', (ROOT / "mmsscl" / "version.py").read_text(), re.MULTILINE)
    if match is None:
        raise RuntimeError("mmsscl/version.py lacks a line like: __version__ = \"1.2.3\"")
    return match[1]


readme = ROOT / "README.md"
setup(
    name="mmsscl",
    version=read_version(),
    description="Self-supervised pretraining of vision backbones on unlabelled scene photos, for MMEngine and mmdet",
    long_description=readme.read_text(encoding="utf-8") if readme.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="self-supervised learning, object detection, computer vision, OpenMMLab",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=("mmsscl", "mmsscl.*")),
    package_data={"mmsscl.visualization.report": ["page.css", "page.js"]},
    # The OpenMMLab family is an extra: a dependency would install the continuation over OpenMMLab's own packages,
    # whose files have the same names. `import mmsscl` says what is missing.
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy>=1.24",
        "scipy>=1.10",
        "pillow>=9.2",
        "matplotlib>=3.7",
        "pycocotools>=2.0.7",
        "rich>=13",
        "scikit-learn>=1.4",
    ],
    extras_require={
        "onedl": [
            "onedl-mmengine>=0.10.8,<1.0",
            "onedl-mmcv>=2.3.0,<2.4",
            "onedl-mmpretrain>=1.3.0,<2.0",
            "onedl-mmdetection>=3.4.0,<4.0",
        ],
        "openmmlab": ["mmengine>=0.10.0,<1.0", "mmcv>=2.0.1,<2.2", "mmpretrain>=1.0.0,<2.0", "mmdet>=3.0.0,<4.0"],
        "safetensors": ["safetensors>=0.4"],
        "test": [
            "pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "webdataset>=0.2.90", "timm>=1.0", "safetensors>=0.4",
            "ruff>=0.14", "mypy>=1.11",
        ],
    },
    entry_points={"console_scripts": ["mmsscl = mmsscl.cli:main"]},
    cmdclass={"build_py": BuildWithConfigs},
    zip_safe=False,
)
