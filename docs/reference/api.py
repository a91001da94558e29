"""The pages of the Python API: one for each room of minigpt, filled by mkdocstrings."""

from pathlib import Path

import minigpt

ROOT = Path(minigpt.__file__).parent
ROOMS = {
    "data": "Text, its split, tokens and windows.",
    "model": "The network and its first weights.",
    "training": "The loop, its optimizers, and the training process.",
    "evaluation": "Loss, paired comparison, contamination, memorization, and the diagnosis of a curve.",
    "generation": "Sampling, and models made ready to write.",
    "checkpoints": "Checkpoints as complete folders of safetensors.",
    "cost": "Quotes, bills and FLOP counts.",
    "io": "The content-addressed store, the journal and downloads.",
    "runtime": "What a process needs before torch is imported, and the facts of the machine.",
    "cpu": "Kernels and matrix products for CPUs.",
}
INDEX = """# Python API

`minigpt` is a library of plain functions on torch and tiktoken. It knows neither Prefect nor MLflow, never prints, and
draws no random number from a global generator. *Step* means one optimizer step, and *loss* is in nats per token.
"""


def pages() -> dict[str, str]:
    """Path and Markdown of each page."""
    found = {"reference/api/recipe.md": _page("recipe", "The config, errors and randomness.", ROOT_MODULES)}
    for room, sentence in ROOMS.items():
        found[f"reference/api/{room}.md"] = _page(room, sentence, modules_of(room))
    rows = [f"- [{room}]({room}.md): {sentence}" for room, sentence in ROOMS.items()]
    recipe = "- [recipe](recipe.md): The config, errors and randomness."
    return {"reference/api/index.md": "\n".join([INDEX, *_public(), recipe, *rows, ""]), **found}


def _public() -> list[str]:
    """The names that `from minigpt import ...` gives, each with a link to where it is defined."""
    names: list[str] = getattr(minigpt, "__all__", [])
    if not names:
        return []
    links = [f"[`{name}`][{getattr(minigpt, name).__module__}.{name}]" for name in names]
    return [f"Import from `minigpt` itself: {', '.join(links)}. The modules below have the rest, which may change.\n"]


ROOT_MODULES = ["minigpt.recipe", "minigpt.config", "minigpt.errors", "minigpt.randomness"]


def modules_of(room: str) -> list[str]:
    paths = sorted((ROOT / room).rglob("*.py"))
    return [
        ".".join(["minigpt", *path.relative_to(ROOT).with_suffix("").parts])
        for path in paths
        if path.name not in ("__init__.py", "__main__.py")
    ]


def _page(title: str, sentence: str, modules: list[str]) -> str:
    return "\n".join([f"# {title}\n", f"{sentence}\n", *(f"::: {module}\n" for module in modules)])
